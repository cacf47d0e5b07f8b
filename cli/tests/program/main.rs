//! The program as its users see it: what it prints where, and how it exits.

mod bench;
mod chat;
mod common;
mod embedded;
mod inspect;
mod quantize;
mod run;
mod tokenize;
