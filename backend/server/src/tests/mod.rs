//! A card that runs, tested from the other side of its sockets.

mod boot;
mod control;
mod events;
mod help;
mod machine;
mod races;
mod refusals;
mod wires;
