//! How connections come in, and how the door is closed: who is in by then is served to the end.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::connect_info::{Connected, IntoMakeServiceWithConnectInfo};
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A connection whose request is still on its way when the door closes has so long for it.
const ON_THE_WAY: Duration = Duration::from_millis(300);

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A router that knows who asks.
pub type Service = IntoMakeServiceWithConnectInfo<axum::Router, Peer>;

/// Lets connections in until it is to stop.
struct Door {
    listener: TcpListener,
    stop: watch::Receiver<bool>,
}

impl Listener for Door {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let Self { listener, stop } = self;
        let come = tokio::select! {
            biased;
            () = closing(stop) => None,
            come = Listener::accept(listener) => Some(come),
        };
        let Some((stream, address)) = come else { return pending().await };
        // An answer is small and is waited for.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delays");
        }
        (stream, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Until it is to stop. An error means that the platform is gone: stop as well.
async fn closing(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Serves until it is to stop, and then whoever is in.
pub async fn serve(listener: TcpListener, service: Service, stop: watch::Receiver<bool>) -> io::Result<()> {
    let mut told = stop.clone();
    axum::serve(Door { listener, stop }, service)
        .with_graceful_shutdown(async move {
            closing(&mut told).await;
            tokio::time::sleep(ON_THE_WAY).await;
        })
        .await
}
