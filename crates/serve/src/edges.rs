//! Who asks, where an edge asks in their place.
//!
//! A proxy's own address says nothing of the people behind it: limits by place would count all of them as one. A proxy of a named network is
//! believed in one thing, the last address of `X-Forwarded-For`, which it wrote itself; what stands before it was claimed by whoever asked.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::door::Peer;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of the edges before us; nobody else is believed.
#[derive(Debug, Clone, Default)]
pub struct Edges(pub Vec<IpNet>);

impl Edges {
    /// Who asks: the peer, or whom the edge names that the peer is. An edge that names nobody speaks for itself.
    pub fn who_asks(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.0.iter().any(|network| network.contains(&peer)) {
            return peer;
        }
        let last = headers.get_all(FORWARDED_FOR).iter().next_back();
        let last =
            last.and_then(|line| line.to_str().ok()?.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
        last.map_or(peer, |named| named.to_canonical())
    }
}

/// A router whose handlers see who asks in place of the edge.
pub fn behind(router: Router, edges: &Edges) -> Router {
    router.layer(middleware::from_fn_with_state(edges.clone(), named))
}

async fn named(State(edges): State<Edges>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().copied();
    if let Some(ConnectInfo(Peer(peer))) = peer {
        let who = edges.who_asks(peer.ip(), request.headers());
        if who != peer.ip() {
            // The port is the edge's: nobody asks for it.
            request.extensions_mut().insert(ConnectInfo(Peer(SocketAddr::new(who, peer.port()))));
        }
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(edges: &[&str], peer: &str, lines: &[&str]) -> String {
        let edges = Edges(edges.iter().map(|edge| edge.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        edges.who_asks(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn an_edge_is_believed_its_own_word_and_nobody_else_any() {
        let edges = ["10.7.0.0/16", "fd00::/8"];
        assert_eq!(who(&edges, "10.7.0.2", &["198.51.100.9"]), "198.51.100.9");
        assert_eq!(who(&edges, "::ffff:10.7.0.2", &["198.51.100.9"]), "198.51.100.9", "on both protocols");
        assert_eq!(who(&edges, "fd00::2", &["2001:db8::9"]), "2001:db8::9");
        // What was claimed before the edge added what it saw.
        assert_eq!(who(&edges, "10.7.0.2", &["1.1.1.1, 2.2.2.2, 198.51.100.9"]), "198.51.100.9");
        assert_eq!(who(&edges, "10.7.0.2", &["1.1.1.1", "198.51.100.9"]), "198.51.100.9");
        // Nobody's edge.
        assert_eq!(who(&edges, "10.8.0.2", &["198.51.100.9"]), "10.8.0.2");
        assert_eq!(who(&[], "10.7.0.2", &["198.51.100.9"]), "10.7.0.2");
        // An edge that names nobody.
        assert_eq!(who(&edges, "10.7.0.2", &[]), "10.7.0.2");
        assert_eq!(who(&edges, "10.7.0.2", &["unknown"]), "10.7.0.2");
        assert_eq!(who(&edges, "10.7.0.2", &["198.51.100.9, "]), "10.7.0.2");
    }
}
