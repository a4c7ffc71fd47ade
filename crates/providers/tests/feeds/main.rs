//! The feeds as their owner sees them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails where it is wrong"
)]

mod common;
mod extract;
mod replay;
mod simulator;
mod ticks;
