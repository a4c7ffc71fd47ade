//! The whole platform, asked over HTTP, in one program: linking one for each file would take minutes and gigabytes. What kills
//! processes or measures has a program of its own.

mod access;
mod audit;
mod bad_input;
mod census;
mod common;
mod firm;
mod headers;
mod operations;
mod operators;
mod payments;
mod payrolls;
mod privacy;
mod receipts;
mod replay;
mod told;
