//! Streams of a Redis server, of a cluster, or of whatever server its sentinels name.

use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

use app::streams::{Entry, EntryId, StreamError, Streams, Waiting};
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::streams::{
    StreamAutoClaimReply, StreamId, StreamInfoGroupsReply, StreamPendingReply, StreamRangeReply,
    StreamReadReply,
};
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, Pipeline, TlsMode, Value};
use tokio::sync::Mutex;

/// A server that does not answer within this time is away; whoever waits for entries waits so much longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// The field of an entry.
const FIELD: &str = "d";
/// Entries that are counted one by one where the server has lost count.
const MOST_COUNTED: usize = 100_000;

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The URL is none of ours.
    #[error(
        "the URL of the stream server must begin with redis://, rediss://, redis+cluster://, rediss+cluster://, redis+sentinel:// or \
         rediss+sentinel://, and name a master behind sentinels"
    )]
    Url,
    /// The URL is none, or nobody answers there.
    #[error("connecting to the stream server")]
    Connect(#[source] redis::RedisError),
    /// It would drop streams when its memory is full.
    #[error(
        "the stream server's maxmemory-policy is {0}: it would drop streams when its memory is full; set it to noeviction or to a \
         volatile one"
    )]
    Evicts(String),
}

/// Streams of Redis. Connects anew whenever a connection has failed.
pub struct RedisStreams {
    link: Link,
    /// For everything that is answered at once.
    shared: Mutex<Option<Connection>>,
    /// Those that wait for entries take one each.
    waiting: Mutex<Vec<Connection>>,
}

enum Link {
    Server(Client),
    Cluster(ClusterClient),
    Sentinels(Mutex<SentinelClient>),
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
}

impl std::fmt::Debug for RedisStreams {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RedisStreams").finish_non_exhaustive()
    }
}

impl RedisStreams {
    /// Connects once, so that a wrong URL shows at once, and refuses a server that may drop streams.
    pub async fn connect(url: &str) -> Result<Self, RedisError> {
        let link = link(url)?;
        let streams = Self { link, shared: Mutex::new(None), waiting: Mutex::default() };
        let mut connection = streams.open(Duration::ZERO).await.map_err(RedisError::Connect)?;
        let information: Value =
            connection.ask(redis::cmd("INFO").arg("memory")).await.map_err(RedisError::Connect)?;
        if let Some(policy) = policies(&information).find(|policy| policy.starts_with("allkeys")) {
            return Err(RedisError::Evicts(policy));
        }
        *streams.shared.lock().await = Some(connection);
        Ok(streams)
    }

    async fn open(&self, wait: Duration) -> redis::RedisResult<Connection> {
        let answers = ANSWERS_WITHIN.saturating_add(wait);
        let client = match &self.link {
            Link::Cluster(client) => {
                let config =
                    ClusterConfig::new().set_connection_timeout(ANSWERS_WITHIN).set_response_timeout(answers);
                return Ok(Connection::Cluster(client.get_async_connection_with_config(config).await?));
            }
            Link::Server(client) => client.clone(),
            Link::Sentinels(client) => client.lock().await.async_get_client().await?,
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

    /// Whoever finds the shared connection broken drops it; the next one opens another.
    async fn after<T>(&self, answer: redis::RedisResult<T>) -> redis::RedisResult<T> {
        if answer.as_ref().is_err_and(is_broken) {
            *self.shared.lock().await = None;
        }
        answer
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let answer = self.shared().await?.ask(command).await;
        self.after(answer).await
    }

    async fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline) -> redis::RedisResult<T> {
        let answer = self.shared().await?.ask_all(commands).await;
        self.after(answer).await
    }

    /// For commands that wait for entries.
    async fn ask_waiting<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let free = self.waiting.lock().await.pop();
        let mut connection = match free {
            Some(connection) => connection,
            None => self.open(LONGEST_WAIT).await?,
        };
        let answer = connection.ask(command).await;
        if !answer.as_ref().is_err_and(is_broken) {
            self.waiting.lock().await.push(connection);
        }
        answer
    }

    async fn make_group(&self, stream: &str, group: &str) -> redis::RedisResult<()> {
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(stream).arg(group).arg("0").arg("MKSTREAM");
        match self.ask::<()>(&command).await {
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            made => made,
        }
    }
}

/// Nobody waits longer in one go.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[async_trait]
impl Streams for RedisStreams {
    async fn append(&self, stream: &str, entries: &[Vec<u8>]) -> Result<EntryId, StreamError> {
        let failed = |error| failed("appending to", stream, error);
        if entries.is_empty() {
            return self.last(stream).await;
        }
        let mut commands = redis::pipe();
        for bytes in entries {
            commands.cmd("XADD").arg(stream).arg("*").arg(FIELD).arg(bytes.as_slice());
        }
        let ids: Vec<String> = self.ask_all(&commands).await.map_err(failed)?;
        ids.last().map_or(Ok(EntryId::ZERO), |id| entry_id(id)).map_err(failed)
    }

    async fn read(
        &self,
        stream: &str,
        group: &str,
        member: &str,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>, StreamError> {
        let failed = |error| failed("reading", stream, error);
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(group).arg(member).arg("COUNT").arg(most);
        block(&mut command, wait);
        command.arg("STREAMS").arg(stream).arg(">");
        let read: redis::RedisResult<Option<StreamReadReply>> = self.ask_waiting(&command).await;
        let read = match read {
            Err(error) if error.code() == Some("NOGROUP") => {
                self.make_group(stream, group).await.map_err(failed)?;
                self.ask_waiting(&command).await
            }
            read => read,
        };
        entries(read.map_err(failed)?).map_err(failed)
    }

    async fn claim(
        &self,
        stream: &str,
        group: &str,
        member: &str,
        idle: Duration,
        most: usize,
    ) -> Result<Vec<Entry>, StreamError> {
        let failed = |error| failed("claiming of", stream, error);
        let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        let mut from = "0-0".to_owned();
        let mut claimed = Vec::new();
        loop {
            let mut command = redis::cmd("XAUTOCLAIM");
            command.arg(stream).arg(group).arg(member).arg(idle).arg(&from).arg("COUNT");
            command.arg(most.saturating_sub(claimed.len()));
            let reply: StreamAutoClaimReply = match self.ask(&command).await {
                Err(error) if error.code() == Some("NOGROUP") => return Ok(Vec::new()),
                reply => reply.map_err(failed)?,
            };
            claimed.extend(reply.claimed);
            from = reply.next_stream_id;
            if from == "0-0" || claimed.len() >= most {
                return claimed.iter().map(entry).collect::<Result<_, _>>().map_err(failed);
            }
        }
    }

    async fn acknowledge(&self, stream: &str, group: &str, ids: &[EntryId]) -> Result<(), StreamError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut command = redis::cmd("XACK");
        command.arg(stream).arg(group);
        for id in ids {
            command.arg(id.to_string());
        }
        self.ask::<i64>(&command).await.map_err(|error| failed("acknowledging in", stream, error))?;
        Ok(())
    }

    async fn follow(
        &self,
        stream: &str,
        after: EntryId,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>, StreamError> {
        let failed = |error| failed("following", stream, error);
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(most);
        block(&mut command, wait);
        command.arg("STREAMS").arg(stream).arg(after.to_string());
        entries(self.ask_waiting(&command).await.map_err(failed)?).map_err(failed)
    }

    async fn last(&self, stream: &str) -> Result<EntryId, StreamError> {
        let failed = |error| failed("looking at", stream, error);
        let mut command = redis::cmd("XREVRANGE");
        command.arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
        let reply: StreamRangeReply = self.ask(&command).await.map_err(failed)?;
        reply.ids.first().map_or(Ok(EntryId::ZERO), |id| entry_id(&id.id)).map_err(failed)
    }

    async fn trim(&self, stream: &str) -> Result<u64, StreamError> {
        let failed = |error| failed("trimming", stream, error);
        let groups = self.groups(stream).await.map_err(failed)?;
        let mut lowest: Option<EntryId> = None;
        for group in &groups.groups {
            let delivered = entry_id(&group.last_delivered_id).map_err(failed)?;
            let mut done = EntryId { number: delivered.number.saturating_add(1), ..delivered };
            if group.pending > 0 {
                let mut command = redis::cmd("XPENDING");
                command.arg(stream).arg(&group.name);
                if let StreamPendingReply::Data(pending) = self.ask(&command).await.map_err(failed)? {
                    done = entry_id(&pending.start_id).map_err(failed)?;
                }
            }
            lowest = Some(lowest.map_or(done, |lowest| lowest.min(done)));
        }
        let Some(lowest) = lowest else { return Ok(0) };
        let mut command = redis::cmd("XTRIM");
        command.arg(stream).arg("MINID").arg("=").arg(lowest.to_string());
        self.ask(&command).await.map_err(failed)
    }

    async fn trim_to(&self, stream: &str, most: u64) -> Result<u64, StreamError> {
        let mut command = redis::cmd("XTRIM");
        command.arg(stream).arg("MAXLEN").arg("=").arg(most);
        self.ask(&command).await.map_err(|error| failed("trimming", stream, error))
    }

    async fn join(&self, stream: &str, group: &str) -> Result<(), StreamError> {
        self.make_group(stream, group).await.map_err(|error| failed("joining", stream, error))
    }

    async fn keep_for(&self, stream: &str, time: Duration) -> Result<(), StreamError> {
        let mut command = redis::cmd("PEXPIRE");
        command.arg(stream).arg(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.ask::<i64>(&command).await.map_err(|error| failed("keeping", stream, error))?;
        Ok(())
    }

    async fn waiting(&self, stream: &str, group: &str) -> Result<Waiting, StreamError> {
        let failed = |error| failed("looking at", stream, error);
        let groups = self.groups(stream).await.map_err(failed)?;
        let found = groups.groups.into_iter().find(|found| found.name == group);
        let (after, lag, pending) = found
            .map_or(("0-0".to_owned(), None, 0), |found| (found.last_delivered_id, found.lag, found.pending));
        let undelivered = if let Some(lag) = lag {
            lag
        } else {
            // After a deletion in the middle the server has lost count.
            let mut command = redis::cmd("XRANGE");
            command.arg(stream).arg(format!("({after}")).arg("+").arg("COUNT").arg(MOST_COUNTED);
            self.ask::<StreamRangeReply>(&command).await.map_err(failed)?.ids.len()
        };
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Ok(Waiting { undelivered: count(undelivered), pending: count(pending) })
    }
}

impl RedisStreams {
    async fn groups(&self, stream: &str) -> redis::RedisResult<StreamInfoGroupsReply> {
        let mut command = redis::cmd("XINFO");
        command.arg("GROUPS").arg(stream);
        match self.ask(&command).await {
            // The stream is not there.
            Err(error) if error.code() == Some("ERR") => Ok(StreamInfoGroupsReply::default()),
            groups => groups,
        }
    }
}

fn block(command: &mut Cmd, wait: Duration) {
    // Zero would be for ever.
    let wait = wait.min(LONGEST_WAIT).as_millis();
    if let Ok(wait @ 1..) = u64::try_from(wait) {
        command.arg("BLOCK").arg(wait);
    }
}

fn is_broken(error: &redis::RedisError) -> bool {
    // A server that has become a replica refuses to write: whoever is the master now is found by connecting anew.
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN"))
}

fn failed(doing: &'static str, stream: &str, error: redis::RedisError) -> StreamError {
    StreamError { doing, stream: stream.to_owned(), source: Box::new(error) }
}

fn entries(reply: Option<StreamReadReply>) -> redis::RedisResult<Vec<Entry>> {
    reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids).map(|id| entry(&id)).collect()
}

fn entry(id: &StreamId) -> redis::RedisResult<Entry> {
    let bytes = id.get(FIELD).unwrap_or_default();
    Ok(Entry { id: entry_id(&id.id)?, bytes })
}

fn entry_id(text: &str) -> redis::RedisResult<EntryId> {
    let parse = || -> Option<Result<EntryId, ParseIntError>> {
        let (time, number) = text.split_once('-')?;
        Some(time.parse().and_then(|time| number.parse().map(|number| EntryId { time, number })))
    };
    match parse() {
        Some(Ok(id)) => Ok(id),
        _ => {
            Err((redis::ErrorKind::UnexpectedReturnType, "not the name of an entry", text.to_owned()).into())
        }
    }
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
            if let Some((name, password)) = login.split_once(':') {
                if !name.is_empty() {
                    builder = builder.set_client_to_redis_username(name);
                }
                builder = builder.set_client_to_redis_password(password);
            }
            if tls == "rediss" {
                builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            }
            Ok(Link::Sentinels(Mutex::new(builder.build().map_err(RedisError::Connect)?)))
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
