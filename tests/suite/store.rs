//! The store on real Cassandra.

mod contract;
mod login;
mod migrations;
mod outage;
mod tables;
