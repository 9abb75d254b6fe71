//! Queries that look at one bid at a time.

use dbsp::utils::{Tup2, Tup5, Tup7};

use crate::run::{Error, Measured, Run};
use crate::text::{Text, Thousandths};
use crate::time::{day, day_text, hour, minute, minute_text};

/// Pass through.
pub fn q0(run: &Run) -> Result<Measured, Error> {
    run.bids(|b| Tup5(b.auction, b.bidder, b.price, b.date_time, Text::new(&b.extra)), |bids| bids.clone())
}

/// Currency conversion.
pub fn q1(run: &Run) -> Result<Measured, Error> {
    run.bids(
        |b| Tup5(b.auction, b.bidder, b.price, b.date_time, Text::new(&b.extra)),
        |bids| {
            bids.map(|Tup5(auction, bidder, price, time, extra)| {
                Tup5(*auction, *bidder, Thousandths(908 * price), *time, extra.clone())
            })
        },
    )
}

/// Bids on chosen auctions.
pub fn q2(run: &Run) -> Result<Measured, Error> {
    run.bids(|b| Tup2(b.auction, b.price), |bids| bids.filter(|Tup2(auction, _)| auction % 123 == 0))
}

/// Each bid with its day and minute.
pub fn q10(run: &Run) -> Result<Measured, Error> {
    run.bids(
        |b| Tup5(b.auction, b.bidder, b.price, b.date_time, Text::new(&b.extra)),
        |bids| {
            bids.map(|Tup5(auction, bidder, price, time, extra)| {
                let (day, minute) = (day_text(day(*time)), minute_text(minute(*time)));
                Tup7(*auction, *bidder, *price, *time, extra.clone(), day, minute)
            })
        },
    )
}

/// Bids of a middle price, with the time of day, and how often their text has a letter.
pub fn q14(run: &Run) -> Result<Measured, Error> {
    run.bids(
        |b| Tup5(b.auction, b.bidder, b.price, b.date_time, Text::new(&b.extra)),
        |bids| {
            bids.filter(|Tup5(_, _, price, _, _)| (1_000_000_001..50_000_000_000).contains(&(908 * price))).map(
                |Tup5(auction, bidder, price, time, extra)| {
                    let kind = match hour(*time) {
                        8..=18 => "dayTime",
                        ..=6 | 20.. => "nightTime",
                        _ => "otherTime",
                    };
                    let letters = extra.str().bytes().filter(|byte| *byte == b'c').count() as i64;
                    let price = Thousandths(908 * price);
                    Tup7(*auction, *bidder, price, Text::new(kind), *time, extra.clone(), letters)
                },
            )
        },
    )
}

/// Each bid with the number of its channel.
pub fn q21(run: &Run) -> Result<Measured, Error> {
    run.bids(
        |b| Tup5(b.auction, b.bidder, b.price, Text::new(&b.channel), Text::new(&b.url)),
        |bids| {
            bids.flat_map(|Tup5(auction, bidder, price, channel, url)| {
                let id = match channel.str().to_lowercase().as_str() {
                    "apple" => Some("0"),
                    "google" => Some("1"),
                    "facebook" => Some("2"),
                    "baidu" => Some("3"),
                    _ => channel_id(url.str()),
                };
                id.map(|id| Tup5(*auction, *bidder, *price, channel.clone(), Text::new(id)))
            })
        },
    )
}

/// What `(&|^)channel_id=([^&]*)` finds first, unless it is empty.
fn channel_id(url: &str) -> Option<&str> {
    const NAME: &str = "channel_id=";
    let found = url.match_indices(NAME).find(|(at, _)| *at == 0 || url.as_bytes()[at - 1] == b'&');
    let rest = &url[found?.0 + NAME.len()..];
    rest.split('&').next().filter(|id| !id.is_empty())
}

/// The parts of each bid's address.
pub fn q22(run: &Run) -> Result<Measured, Error> {
    run.bids(
        |b| Tup5(b.auction, b.bidder, b.price, Text::new(&b.channel), Text::new(&b.url)),
        |bids| {
            bids.map(|Tup5(auction, bidder, price, channel, url)| {
                let mut parts = url.str().split('/').skip(3);
                let mut part = || Text::new(parts.next().unwrap_or(""));
                Tup7(*auction, *bidder, *price, channel.clone(), part(), part(), part())
            })
        },
    )
}
