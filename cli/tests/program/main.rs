//! The program as its users see it: what it prints where, and how it exits.

mod bench;
mod common;
mod inspect;
mod run;
mod tokenize;
