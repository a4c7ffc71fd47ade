//! A link between two programs that a test may slow down, break and cut.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kernel::SeededRng;

/// What a link does to what goes through it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Every piece comes so much later.
    pub delay: Duration,
    /// So many pieces in a thousand come two hundred milliseconds later still, as after a loss.
    pub lost_in_1000: i64,
    /// After so many pieces in a thousand the connection is reset.
    pub reset_in_1000: i64,
    /// Nothing goes through: connections end and new ones are refused.
    pub cut: bool,
}

/// How long the network takes to notice a loss and to send again.
const SENT_AGAIN: Duration = Duration::from_millis(200);
/// A cut is noticed by a connection that is silent within this time.
const LOOKED_AT: Duration = Duration::from_millis(20);

/// A link to a port of this machine.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: u16,
    faults: Mutex<Faults>,
    chance: SeededRng,
    ended: AtomicBool,
    resets: AtomicU64,
}

impl Shared {
    fn faults(&self) -> Faults {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultProxy {
    /// A link without a fault.
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let shared = Arc::new(Shared {
            to,
            faults: Mutex::default(),
            chance: SeededRng::new(u64::from(to)),
            ended: AtomicBool::new(false),
            resets: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                // Dropped, the connection ends.
                if let Ok(connection) = connection
                    && !accepting.faults().cut
                    && let Ok(onward) = TcpStream::connect((Ipv4Addr::LOCALHOST, accepting.to))
                {
                    join(&accepting, &connection, &onward);
                }
            }
        });
        Self { port, shared }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// How many connections were reset.
    pub fn resets(&self) -> u64 {
        self.shared.resets.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn join(shared: &Arc<Shared>, one: &TcpStream, other: &TcpStream) {
    for (from, to) in [(one, other), (other, one)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            carry(&shared, &from, &to);
            drop(from.shutdown(Shutdown::Both));
            drop(to.shutdown(Shutdown::Both));
        });
    }
}

/// Carries until one side ends, or a fault does it.
fn carry(shared: &Shared, mut from: &TcpStream, mut to: &TcpStream) {
    use std::io::{Read as _, Write as _};
    let set = from.set_read_timeout(Some(LOOKED_AT)).and_then(|()| to.set_nodelay(true));
    if set.is_err() {
        return;
    }
    let mut piece = vec![0; 64 * 1_024];
    loop {
        let faults = shared.faults();
        if faults.cut || shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let read = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        let happens = |in_1000: i64| in_1000 > 0 && shared.chance.between(1, 1_000) <= in_1000;
        let mut wait = faults.delay;
        if happens(faults.lost_in_1000) {
            wait = wait.saturating_add(SENT_AGAIN);
        }
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        if happens(faults.reset_in_1000) {
            shared.resets.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let Some(piece) = piece.get(..read) else { return };
        if to.write_all(piece).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn a_link_carries_and_is_cut_and_mended() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = FaultProxy::start(server.local_addr().unwrap().port());
        let echo = std::thread::spawn(move || {
            for connection in server.incoming().take(2) {
                let mut connection = connection.unwrap();
                let mut byte = [0];
                while connection.read(&mut byte).is_ok_and(|read| read == 1) {
                    connection.write_all(&byte).unwrap();
                }
            }
        });
        let ask = |connection: &mut TcpStream| {
            let mut byte = [0];
            connection.write_all(b"x")?;
            connection.read_exact(&mut byte).map(|()| byte)
        };
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        let mut first = connect();
        assert_eq!(ask(&mut first).unwrap(), *b"x");
        proxy.set(Faults { cut: true, ..Faults::default() });
        assert!((0..100).any(|_| {
            std::thread::sleep(LOOKED_AT);
            ask(&mut first).is_err()
        }));
        assert!(ask(&mut connect()).is_err());
        proxy.set(Faults { delay: Duration::from_millis(50), ..Faults::default() });
        assert_eq!(ask(&mut connect()).unwrap(), *b"x");
        drop((first, proxy));
        echo.join().unwrap();
    }
}
