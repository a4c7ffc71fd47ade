//! Redis, and what stands in for it inside one process.
//!
//! **For:** the port [`app::streams::Streams`]: [`RedisStreams`] over a server, a cluster or whatever its sentinels
//! name, with TLS where the URL says so; [`MemoryStreams`] for an installation of one process.
//!
//! **Must not know:** what the entries say, PostgreSQL, HTTP. Everything here may vanish at any moment.
//!
//! **To add a promise:** a method of the port, both adapters, and a question in `tests/contract.rs`, which asks both.

mod memory;
mod redis;

pub use memory::MemoryStreams;
pub use redis::{RedisError, RedisStreams};
