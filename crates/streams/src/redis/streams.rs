//! Streams of Redis.

use std::num::ParseIntError;
use std::time::Duration;

use app::streams::{Entry, EntryId, StreamError, Streams, Waiting};
use async_trait::async_trait;
use redis::streams::{
    StreamAutoClaimReply, StreamId, StreamInfoGroup, StreamInfoGroupsReply, StreamPendingReply,
    StreamRangeReply, StreamReadReply,
};
use redis::{Cmd, FromRedisValue, Value};
use tokio::sync::Mutex;

use super::{ANSWERS_WITHIN, Connection, RedisError, Server, is_broken, policies};

/// The field of an entry.
const FIELD: &str = "d";
/// Entries that are counted one by one where the server has lost count.
const MOST_COUNTED: usize = 100_000;

/// Streams of Redis. Connects anew whenever a connection has failed.
pub struct RedisStreams {
    server: Server,
    /// Those that wait for entries take one each.
    waiting: Mutex<Vec<Connection>>,
}

impl std::fmt::Debug for RedisStreams {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RedisStreams").finish_non_exhaustive()
    }
}

impl RedisStreams {
    /// Connects once, so that a wrong URL shows at once, and refuses a server that may drop streams.
    pub async fn connect(url: &str) -> Result<Self, RedisError> {
        let server = Server::at(url)?;
        let information: Value =
            server.ask(redis::cmd("INFO").arg("memory")).await.map_err(RedisError::Connect)?;
        if let Some(policy) = policies(&information).find(|policy| policy.starts_with("allkeys")) {
            return Err(RedisError::Evicts(policy));
        }
        Ok(Self { server, waiting: Mutex::default() })
    }

    /// For commands that wait for entries, so long.
    async fn ask_waiting<T: FromRedisValue>(&self, command: &Cmd, wait: Duration) -> redis::RedisResult<T> {
        let free = self.waiting.lock().await.pop();
        let mut connection = match free {
            Some(connection) => connection,
            None => self.server.open(LONGEST_WAIT).await?,
        };
        connection.answers_within(ANSWERS_WITHIN.saturating_add(wait));
        let answer = connection.ask(command).await;
        let answer = self.server.after(answer).await;
        let mut waiting = self.waiting.lock().await;
        if answer.as_ref().is_err_and(is_broken) {
            // The others lead to the same server: whoever took one would fail as well.
            waiting.clear();
        } else {
            waiting.push(connection);
        }
        answer
    }

    async fn make_group(&self, stream: &str, group: &str) -> redis::RedisResult<()> {
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(stream).arg(group).arg("0").arg("MKSTREAM");
        match self.server.ask::<()>(&command).await {
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
        let ids: Vec<String> = self.server.ask_all(&commands).await.map_err(failed)?;
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
        let read: redis::RedisResult<Option<StreamReadReply>> = self.ask_waiting(&command, wait).await;
        let read = match read {
            Err(error) if error.code() == Some("NOGROUP") => {
                self.make_group(stream, group).await.map_err(failed)?;
                self.ask_waiting(&command, wait).await
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
            let reply: StreamAutoClaimReply = match self.server.ask(&command).await {
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
        self.server.ask::<i64>(&command).await.map_err(|error| failed("acknowledging in", stream, error))?;
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
        entries(self.ask_waiting(&command, wait).await.map_err(failed)?).map_err(failed)
    }

    async fn last(&self, stream: &str) -> Result<EntryId, StreamError> {
        let failed = |error| failed("looking at", stream, error);
        let mut command = redis::cmd("XREVRANGE");
        command.arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
        let reply: StreamRangeReply = self.server.ask(&command).await.map_err(failed)?;
        reply.ids.first().map_or(Ok(EntryId::ZERO), |id| entry_id(&id.id)).map_err(failed)
    }

    async fn trim(&self, stream: &str) -> Result<u64, StreamError> {
        let failed = |error| failed("trimming", stream, error);
        let groups = self.groups(stream).await.map_err(failed)?;
        let mut lowest: Option<EntryId> = None;
        for group in &groups.groups {
            let done = self.done_by(stream, group).await.map_err(failed)?;
            lowest = Some(lowest.map_or(done, |lowest| lowest.min(done)));
        }
        let Some(lowest) = lowest else { return Ok(0) };
        let mut command = redis::cmd("XTRIM");
        command.arg(stream).arg("MINID").arg("=").arg(lowest.to_string());
        self.server.ask(&command).await.map_err(failed)
    }

    async fn trim_to(&self, stream: &str, most: u64) -> Result<u64, StreamError> {
        let mut command = redis::cmd("XTRIM");
        command.arg(stream).arg("MAXLEN").arg("=").arg(most);
        self.server.ask(&command).await.map_err(|error| failed("trimming", stream, error))
    }

    async fn join(&self, stream: &str, group: &str) -> Result<(), StreamError> {
        self.make_group(stream, group).await.map_err(|error| failed("joining", stream, error))
    }

    async fn keep_for(&self, stream: &str, time: Duration) -> Result<(), StreamError> {
        let mut command = redis::cmd("PEXPIRE");
        command.arg(stream).arg(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.server.ask::<i64>(&command).await.map_err(|error| failed("keeping", stream, error))?;
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
            self.server.ask::<StreamRangeReply>(&command).await.map_err(failed)?.ids.len()
        };
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Ok(Waiting { undelivered: count(undelivered), pending: count(pending) })
    }

    async fn done(&self, stream: &str, group: &str) -> Result<EntryId, StreamError> {
        let failed = |error| failed("looking at", stream, error);
        let groups = self.groups(stream).await.map_err(failed)?;
        match groups.groups.iter().find(|found| found.name == group) {
            Some(found) => self.done_by(stream, found).await.map_err(failed),
            None => Ok(EntryId::ZERO),
        }
    }
}

impl RedisStreams {
    async fn groups(&self, stream: &str) -> redis::RedisResult<StreamInfoGroupsReply> {
        let mut command = redis::cmd("XINFO");
        command.arg("GROUPS").arg(stream);
        match self.server.ask(&command).await {
            // The stream is not there.
            Err(error) if error.code() == Some("ERR") => Ok(StreamInfoGroupsReply::default()),
            groups => groups,
        }
    }

    async fn done_by(&self, stream: &str, group: &StreamInfoGroup) -> redis::RedisResult<EntryId> {
        if group.pending > 0 {
            let mut command = redis::cmd("XPENDING");
            command.arg(stream).arg(&group.name);
            if let StreamPendingReply::Data(pending) = self.server.ask(&command).await? {
                return entry_id(&pending.start_id);
            }
        }
        let delivered = entry_id(&group.last_delivered_id)?;
        Ok(EntryId { number: delivered.number.saturating_add(1), ..delivered })
    }
}

fn block(command: &mut Cmd, wait: Duration) {
    // Zero would be for ever.
    let wait = wait.min(LONGEST_WAIT).as_millis();
    if let Ok(wait @ 1..) = u64::try_from(wait) {
        command.arg("BLOCK").arg(wait);
    }
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
