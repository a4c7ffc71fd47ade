//! A mail server on a port of its own that answers as it is told and keeps what it took.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How it behaves from the next connection on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// It takes everything.
    Take,
    /// It answers the recipient with this line.
    RefuseRecipient(String),
    /// It answers the finished message with this line.
    RefuseMessage(String),
    /// It takes the message and closes the connection without a word.
    DieAfterData,
    /// It greets nobody.
    Silent,
}

/// A message that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// From the envelope.
    pub from: String,
    /// From the envelope.
    pub to: String,
    /// Headers and body, as they came.
    pub message: String,
}

impl Taken {
    /// The first header of a name, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.message.split("\r\n\r\n").next()?.replace("\r\n ", " ").replace("\r\n\t", " ");
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// The server. Dropped, it stops.
#[derive(Debug)]
pub struct SmtpSink {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    taken: Mutex<Vec<Taken>>,
}

impl SmtpSink {
    /// One that takes everything.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let shared = Arc::new(Shared { behaviour: Mutex::new(Behaviour::Take), taken: Mutex::default() });
        let own = Arc::clone(&shared);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = Arc::clone(&own);
                // A client that goes away ends its conversation, and nothing else.
                tokio::spawn(async move { drop(own.talk(stream).await) });
            }
        });
        Self { address, shared, server }
    }

    /// From the next connection on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// What it took so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    async fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let behaviour = self.behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut stream = BufReader::new(stream);
        if behaviour == Behaviour::Silent {
            std::future::pending::<()>().await;
        }
        stream.write_all(b"220 sink ESMTP\r\n").await?;
        let (mut from, mut to) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let upper = line.to_ascii_uppercase();
            let answer = if upper.starts_with("EHLO") {
                "250-sink\r\n250-8BITMIME\r\n250 SMTPUTF8".to_owned()
            } else if upper.starts_with("MAIL FROM") {
                from = address(&line);
                "250 2.1.0 sender is fine".to_owned()
            } else if upper.starts_with("RCPT TO") {
                to = address(&line);
                if let Behaviour::RefuseRecipient(line) = &behaviour {
                    line.clone()
                } else {
                    "250 2.1.5 recipient is fine".to_owned()
                }
            } else if upper.starts_with("DATA") {
                stream.write_all(b"354 go on\r\n").await?;
                let message = data(&mut stream).await?;
                if let Behaviour::RefuseMessage(line) = &behaviour {
                    line.clone()
                } else {
                    let taken = Taken { from: from.clone(), to: to.clone(), message };
                    let number = {
                        let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
                        all.push(taken);
                        all.len()
                    };
                    if behaviour == Behaviour::DieAfterData {
                        return Ok(());
                    }
                    format!("250 2.0.0 queued as {number}")
                }
            } else if upper.starts_with("QUIT") {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            } else {
                "250 fine".to_owned()
            };
            stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
    }
}

async fn data(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut message = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == ".\r\n" {
            return Ok(message);
        }
        message.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

fn address(line: &str) -> String {
    let rest = line.split_once('<').map_or("", |(_, rest)| rest);
    rest.split('>').next().unwrap_or_default().to_owned()
}
