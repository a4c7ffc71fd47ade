//! The sockets that a process listens on. They may outlive its program: whoever becomes itself again (`rotation`) hands them on, so
//! that who connects meanwhile waits a moment and is not refused.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use listenfd::ListenFd;

/// Sockets from the program before, and those for the program after.
#[derive(Debug, Default)]
pub struct Listening {
    inherited: Mutex<Vec<TcpListener>>,
    /// Nothing is kept where nobody hands on.
    kept: Option<Mutex<Vec<TcpListener>>>,
}

impl Listening {
    /// Of a process that may hand its sockets on, and may have been handed some: `LISTEN_FDS` and `LISTEN_PID`, as systemd says them.
    pub fn handed_on() -> anyhow::Result<Self> {
        let mut given = ListenFd::from_env();
        let mut inherited = Vec::new();
        for place in 0..given.len() {
            let listener = given.take_tcp_listener(place).context("taking over a socket")?;
            inherited.extend(listener);
        }
        Ok(Self { inherited: Mutex::new(inherited), kept: Some(Mutex::default()) })
    }

    /// Listens, on the socket that was handed on for the address if there is one. A port that is taken as it is free, 0, is never handed on.
    pub(crate) async fn bind(&self, address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
        let known = {
            let mut inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner);
            let place = inherited.iter().position(|socket| {
                socket.local_addr().is_ok_and(|local| address.port() != 0 && local == address)
            });
            place.map(|place| inherited.swap_remove(place))
        };
        let listener = match known {
            Some(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(socket)?
            }
            None => tokio::net::TcpListener::bind(address).await?,
        };
        if let Some(kept) = &self.kept {
            let socket = listener.into_std()?;
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(socket.try_clone()?);
            return tokio::net::TcpListener::from_std(socket);
        }
        Ok(listener)
    }

    /// Everything that is listened on, for the program after this one.
    pub(crate) fn hand_on(&self) -> Vec<OwnedFd> {
        let kept = self
            .kept
            .iter()
            .flat_map(|kept| std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner)));
        kept.map(OwnedFd::from).collect()
    }
}
