//! The events as the generator writes them, one JSON object per line.

use std::borrow::Cow;

use serde::Deserialize;

/// A line.
#[derive(Deserialize)]
pub enum Event<'a> {
    #[serde(borrow)]
    Person(Person<'a>),
    Auction(Auction<'a>),
    Bid(Bid<'a>),
}

/// The columns of a person that queries read; times are milliseconds since 1970.
#[derive(Deserialize)]
pub struct Person<'a> {
    pub id: i64,
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(borrow)]
    pub city: Cow<'a, str>,
    #[serde(borrow)]
    pub state: Cow<'a, str>,
    pub date_time: i64,
}

/// An auction.
#[derive(Deserialize)]
pub struct Auction<'a> {
    pub id: i64,
    #[serde(borrow)]
    pub item_name: Cow<'a, str>,
    #[serde(borrow)]
    pub description: Cow<'a, str>,
    pub initial_bid: i64,
    pub reserve: i64,
    pub date_time: i64,
    pub expires: i64,
    pub seller: i64,
    pub category: i64,
    #[serde(borrow)]
    pub extra: Cow<'a, str>,
}

/// A bid.
#[derive(Deserialize)]
pub struct Bid<'a> {
    pub auction: i64,
    pub bidder: i64,
    pub price: i64,
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    #[serde(borrow)]
    pub url: Cow<'a, str>,
    pub date_time: i64,
    #[serde(borrow)]
    pub extra: Cow<'a, str>,
}
