//! Money from and to the world: companies that take what a buyer pays and send what a trader is owed.
//!
//! What such a company can do is [`port::Provider`]; which ones a firm has are its [`Providers`]. Nobody believes what comes from
//! outside: a webhook that is verified ([`port::Webhooks`]) says only that something happened to a thing, and the thing is pulled.

pub mod port;
mod registry;

pub use registry::{NoSuchProvider, Providers};
