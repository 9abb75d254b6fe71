//! Queries that join two tables.

use dbsp::algebra::F64;
use dbsp::operator::Max;
use dbsp::utils::{Tup2, Tup3, Tup4, Tup5, Tup7, Tup9};

use crate::run::{Error, Measured, Run};
use crate::text::Text;

/// Who sells in three states in category 10.
pub fn q3(run: &Run) -> Result<Measured, Error> {
    run.persons_and_auctions(
        |p| Tup4(p.id, Text::new(&p.name), Text::new(&p.city), Text::new(&p.state)),
        |a| Tup3(a.id, a.seller, a.category),
        |persons, auctions| {
            let people = persons
                .filter(|Tup4(_, _, _, state)| matches!(state.str(), "or" | "id" | "ca"))
                .map_index(|Tup4(id, name, city, state)| (*id, Tup3(name.clone(), city.clone(), state.clone())));
            let sold =
                auctions.filter(|Tup3(_, _, category)| *category == 10).map_index(|Tup3(id, seller, _)| (*seller, *id));
            sold.join(&people, |_, id, Tup3(name, city, state)| Tup4(name.clone(), city.clone(), state.clone(), *id))
        },
    )
}

/// Average of the winning bids by category.
pub fn q4(run: &Run) -> Result<Measured, Error> {
    run.auctions_and_bids(
        |a| Tup4(a.id, a.date_time, a.expires, a.category),
        |b| Tup3(b.auction, b.price, b.date_time),
        |auctions, bids| {
            let auctions =
                auctions.map_index(|Tup4(id, opens, expires, category)| (*id, Tup3(*opens, *expires, *category)));
            let bids = bids.map_index(|Tup3(auction, price, time)| (*auction, Tup2(*price, *time)));
            let highest = auctions
                .join_index(&bids, |id, Tup3(opens, expires, category), Tup2(price, time)| {
                    (opens..=expires).contains(&time).then_some((Tup2(*id, *category), *price))
                })
                .aggregate(Max);
            highest
                .map_index(|(Tup2(_, category), highest)| (*category, *highest))
                .aggregate_linear_postprocess(
                    |highest| Tup2(*highest, 1),
                    |Tup2(sum, count): Tup2<i64, i64>| F64::new(sum as f64 / count as f64),
                )
                .map(|(category, average)| Tup2(*category, *average))
        },
    )
}

/// Each bid with what a table of 10,000 rows says of its auction.
pub fn q13(run: &Run) -> Result<Measured, Error> {
    run.bids_and_side(
        (0..10_000).map(|key: i64| Tup2(key, Text::new(&key.to_string()))).collect(),
        |b| Tup4(b.auction, b.bidder, b.price, b.date_time),
        |side, bids| {
            let side = side.map_index(|Tup2(key, value)| (*key, value.clone()));
            bids.map_index(|bid| (bid.0 % 10_000, bid.clone()))
                .join(&side, |_, Tup4(auction, bidder, price, time), value| {
                    Tup5(*auction, *bidder, *price, *time, value.clone())
                })
        },
    )
}

/// Bids with their auction, of category 10.
pub fn q20(run: &Run) -> Result<Measured, Error> {
    run.auctions_and_bids(
        |a| {
            let (item, description, extra) = (Text::new(&a.item_name), Text::new(&a.description), Text::new(&a.extra));
            let rest =
                Tup9(item, description, a.initial_bid, a.reserve, a.date_time, a.expires, a.seller, a.category, extra);
            Tup2(a.id, rest)
        },
        |b| {
            let (channel, url, extra) = (Text::new(&b.channel), Text::new(&b.url), Text::new(&b.extra));
            Tup7(b.auction, b.bidder, b.price, channel, url, b.date_time, extra)
        },
        |auctions, bids| {
            let auctions = auctions
                .filter(|Tup2(_, auction)| auction.7 == 10)
                .map_index(|Tup2(id, auction)| (*id, auction.clone()));
            bids.map_index(|bid| (bid.0, bid.clone()))
                .join(&auctions, |_, bid, auction| Tup2(bid.clone(), auction.clone()))
        },
    )
}
