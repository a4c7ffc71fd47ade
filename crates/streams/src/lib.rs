//! Redis, and what stands in for it inside one process.
//!
//! **For:** the ports [`app::streams::Streams`] and [`app::cache::Cache`]: [`RedisStreams`] and [`RedisCache`] over a
//! server, a cluster or whatever its sentinels name, with TLS where the URL says so; [`MemoryStreams`] and [`MemoryCache`] for
//! an installation of one process.
//!
//! **Must not know:** what the entries say, PostgreSQL, HTTP. Everything here may vanish at any moment.
//!
//! **To add a promise:** a method of the port, both adapters, and a question in `tests/contract.rs` or `tests/cache.rs`, which ask both.

mod memory;
mod redis;

pub use memory::{MemoryCache, MemoryStreams};
pub use redis::{RedisCache, RedisError, RedisStreams};
