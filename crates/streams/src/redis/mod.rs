//! Connections to a Redis server, to a cluster, or to whatever server its sentinels name.

mod cache;
mod streams;

use std::str::FromStr;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo as _, Pipeline,
    TlsMode, Value,
};
use tokio::sync::Mutex;

pub use cache::RedisCache;
pub use streams::RedisStreams;

/// A server that does not answer within this time is away; whoever waits for entries waits so much longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The URL is none of ours.
    #[error(
        "the URL of a Redis server must begin with redis://, rediss://, redis+cluster://, rediss+cluster://, redis+sentinel:// or \
         rediss+sentinel://, and name a master behind sentinels"
    )]
    Url,
    /// The URL is none, or nobody answers there.
    #[error("connecting to a Redis server")]
    Connect(#[source] redis::RedisError),
    /// It would drop streams when its memory is full.
    #[error(
        "the stream server's maxmemory-policy is {0}: it would drop streams when its memory is full; set it to noeviction or to a \
         volatile one"
    )]
    Evicts(String),
}

/// A server and the connection that everything shares which is answered at once. Connects anew whenever it has failed.
struct Server {
    link: Link,
    shared: Mutex<Option<Connection>>,
}

enum Link {
    Server(Client),
    Cluster(ClusterClient),
    Sentinels(Mutex<Sentinels>),
}

/// Asking takes a while where one of them hangs, and everybody asks at the same moment: who the primary is is asked once, and
/// believed until a connection to it breaks.
struct Sentinels {
    asked: SentinelClient,
    primary: Option<Client>,
}

#[derive(Clone)]
enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> redis::RedisResult<T> {
        match self {
            Self::Server(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }

    async fn ask_all<T: FromRedisValue>(&mut self, commands: &Pipeline) -> redis::RedisResult<T> {
        match self {
            Self::Server(connection) => commands.query_async(connection).await,
            Self::Cluster(connection) => commands.query_async(connection).await,
        }
    }

    /// From here on. A cluster's connection, which outlives its servers, stays as it was opened.
    fn answers_within(&mut self, time: Duration) {
        if let Self::Server(connection) = self {
            connection.set_response_timeout(time);
        }
    }
}

impl Server {
    /// Nobody is asked yet.
    fn at(url: &str) -> Result<Self, RedisError> {
        Ok(Self { link: link(url)?, shared: Mutex::new(None) })
    }

    async fn open(&self, wait: Duration) -> redis::RedisResult<Connection> {
        let opened = self.try_open(wait).await;
        if opened.is_err() {
            self.forget_primary().await;
        }
        opened
    }

    async fn try_open(&self, wait: Duration) -> redis::RedisResult<Connection> {
        let answers = ANSWERS_WITHIN.saturating_add(wait);
        let client = match &self.link {
            Link::Cluster(client) => {
                let config =
                    ClusterConfig::new().set_connection_timeout(ANSWERS_WITHIN).set_response_timeout(answers);
                return Ok(Connection::Cluster(client.get_async_connection_with_config(config).await?));
            }
            Link::Server(client) => client.clone(),
            Link::Sentinels(sentinels) => {
                let mut sentinels = sentinels.lock().await;
                if let Some(primary) = &sentinels.primary {
                    primary.clone()
                } else {
                    let primary = sentinels.asked.async_get_client().await?;
                    sentinels.primary = Some(primary.clone());
                    primary
                }
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWERS_WITHIN))
            .set_response_timeout(Some(answers));
        Ok(Connection::Server(client.get_multiplexed_async_connection_with_config(&config).await?))
    }

    async fn shared(&self) -> redis::RedisResult<Connection> {
        let mut shared = self.shared.lock().await;
        if let Some(connection) = &*shared {
            return Ok(connection.clone());
        }
        let connection = self.open(Duration::ZERO).await?;
        *shared = Some(connection.clone());
        Ok(connection)
    }

    /// Whoever finds a connection broken drops the shared one and what is known of the primary; the next one finds both anew.
    async fn after<T>(&self, answer: redis::RedisResult<T>) -> redis::RedisResult<T> {
        if answer.as_ref().is_err_and(is_broken) {
            *self.shared.lock().await = None;
            self.forget_primary().await;
        }
        answer
    }

    async fn forget_primary(&self) {
        if let Link::Sentinels(sentinels) = &self.link {
            sentinels.lock().await.primary = None;
        }
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let answer = self.shared().await?.ask(command).await;
        self.after(answer).await
    }

    async fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline) -> redis::RedisResult<T> {
        let answer = self.shared().await?.ask_all(commands).await;
        self.after(answer).await
    }
}

fn is_broken(error: &redis::RedisError) -> bool {
    // A server that has become a replica refuses to write, and one that no replica follows any more: it may have been left behind.
    // Whoever is the master now is found by connecting anew.
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || matches!(error.code(), Some("READONLY" | "NOREPLICAS" | "UNBLOCKED" | "LOADING" | "MASTERDOWN"))
}

/// The word of every server that answered.
fn policies(information: &Value) -> impl Iterator<Item = String> {
    let mut texts = Vec::new();
    collect(information, &mut texts);
    texts.into_iter().flat_map(|text| {
        let policies = text.lines().filter_map(|line| line.strip_prefix("maxmemory_policy:"));
        policies.map(|policy| policy.trim().to_owned()).collect::<Vec<_>>()
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of all kinds of answers these hold texts")]
fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::BulkString(bytes) => texts.push(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => texts.push(text.clone()),
        Value::Map(pairs) => pairs.iter().for_each(|(_, value)| collect(value, texts)),
        Value::Array(values) => values.iter().for_each(|value| collect(value, texts)),
        _ => {}
    }
}

fn link(url: &str) -> Result<Link, RedisError> {
    let (scheme, rest) = url.split_once("://").ok_or(RedisError::Url)?;
    let (tls, kind) = match scheme.split_once('+') {
        Some((plain, kind)) => (plain, kind),
        None => (scheme, ""),
    };
    if !matches!(tls, "redis" | "rediss") {
        return Err(RedisError::Url);
    }
    let (login, hosts) = rest.rsplit_once('@').map_or(("", rest), |(login, hosts)| (login, hosts));
    let (hosts, path) = hosts.split_once('/').unwrap_or((hosts, ""));
    let at = if login.is_empty() { "" } else { "@" };
    match kind {
        "" => Ok(Link::Server(Client::open(url).map_err(RedisError::Connect)?)),
        "cluster" => {
            let nodes = hosts.split(',').map(|host| format!("{tls}://{login}{at}{host}"));
            Ok(Link::Cluster(ClusterClient::new(nodes).map_err(RedisError::Connect)?))
        }
        "sentinel" if !path.is_empty() => {
            let addresses: Option<Vec<_>> =
                hosts.split(',').map(|host| address(host, tls == "rediss")).collect();
            let addresses = addresses.ok_or(RedisError::Url)?;
            let mut builder = SentinelClientBuilder::new(addresses, path, SentinelServerType::Master)
                .map_err(RedisError::Connect)?;
            // Written as in the other URLs: a password may hold what must be encoded there.
            let login = format!("{tls}://{login}{at}localhost")
                .into_connection_info()
                .map_err(RedisError::Connect)?;
            if let Some(name) = login.redis_settings().username() {
                builder = builder.set_client_to_redis_username(name);
            }
            if let Some(password) = login.redis_settings().password() {
                builder = builder.set_client_to_redis_password(password);
            }
            if tls == "rediss" {
                builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            }
            let asked = builder.build().map_err(RedisError::Connect)?;
            Ok(Link::Sentinels(Mutex::new(Sentinels { asked, primary: None })))
        }
        _ => Err(RedisError::Url),
    }
}

fn address(host: &str, tls: bool) -> Option<ConnectionAddr> {
    let (name, port) = host.rsplit_once(':')?;
    let (host, port) = (name.to_owned(), u16::from_str(port).ok()?);
    Some(if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    })
}
