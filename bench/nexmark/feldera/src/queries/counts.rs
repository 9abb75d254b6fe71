//! Queries that count by level of price.

use dbsp::algebra::F64;
use dbsp::operator::{Max, Min};
use dbsp::utils::{Tup2, Tup3, Tup4, Tup5, Tup7};
use dbsp::{DBData, OrdIndexedZSet, RootCircuit, Stream};

use crate::run::{Error, Measured, Run};
use crate::text::Text;
use crate::time::{day, day_text, minute, minute_text};

type Indexed<K, V> = Stream<RootCircuit, OrdIndexedZSet<K, V>>;

/// How many there are in all and of each level.
type Counts = Tup4<i64, i64, i64, i64>;

/// 0, 1 or 2, as the price is below 10,000, below 1,000,000 or not.
fn level(price: i64) -> i64 {
    i64::from(price >= 10_000) + i64::from(price >= 1_000_000)
}

/// One bid, counted in all and in its level.
fn one(level: i64) -> Counts {
    Tup4(1, i64::from(level == 0), i64::from(level == 1), i64::from(level == 2))
}

/// For each key the bids and the different ids that made them, of a stream of ids and levels. The bids of one id are counted first, so
/// that an id counts as one of a level as long as it has bids there. Ids come first, as they are quicker to compare than texts.
fn bids_and_ids<K: DBData>(levels: &Indexed<Tup2<i64, K>, i64>) -> Indexed<K, Tup2<Counts, Counts>> {
    levels
        .aggregate_linear_postprocess(|level| one(*level), |counts: Counts| counts)
        .map_index(|(Tup2(_, key), counts)| {
            let Tup4(_, low, middle, high) = counts;
            let ids = Tup4(1, i64::from(*low > 0), i64::from(*middle > 0), i64::from(*high > 0));
            (key.clone(), Tup2(counts.clone(), ids))
        })
        .aggregate_linear_postprocess(|counts| counts.clone(), |sums: Tup2<Counts, Counts>| sums)
}

/// Bids, bidders and auctions of a day by level of price.
pub fn q15(run: &Run) -> Result<Measured, Error> {
    run.bids(
        |b| Tup4(b.auction, b.bidder, b.price, b.date_time),
        |bids| {
            let bidders = bids_and_ids(
                &bids.map_index(|Tup4(_, bidder, price, time)| (Tup2(*bidder, day(*time)), level(*price))),
            );
            let auctions = bids_and_ids(
                &bids.map_index(|Tup4(auction, _, price, time)| (Tup2(*auction, day(*time)), level(*price))),
            );
            bidders.join(&auctions, |day, Tup2(bids, bidders), Tup2(_, auctions)| {
                Tup4(day_text(*day), bids.clone(), bidders.clone(), auctions.clone())
            })
        },
    )
}

/// The same by channel, with the last minute.
pub fn q16(run: &Run) -> Result<Measured, Error> {
    run.bids(
        |b| Tup5(b.auction, b.bidder, b.price, Text::new(&b.channel), b.date_time),
        |bids| {
            let bidders = bids_and_ids(&bids.map_index(|Tup5(_, bidder, price, channel, time)| {
                (Tup2(*bidder, Tup2(channel.clone(), day(*time))), level(*price))
            }));
            let auctions = bids_and_ids(&bids.map_index(|Tup5(auction, _, price, channel, time)| {
                (Tup2(*auction, Tup2(channel.clone(), day(*time))), level(*price))
            }));
            let minutes = bids
                .map_index(|Tup5(_, _, _, channel, time)| (Tup2(channel.clone(), day(*time)), minute(*time)))
                .aggregate(Max);
            bidders
                .join_index(&auctions, |key, Tup2(bids, bidders), Tup2(_, auctions)| {
                    Some((key.clone(), Tup3(bids.clone(), bidders.clone(), auctions.clone())))
                })
                .join(&minutes, |Tup2(channel, day), counts, minute| {
                    Tup4(channel.clone(), day_text(*day), minute_text(*minute), counts.clone())
                })
        },
    )
}

/// Bids on each auction of a day, and their prices.
pub fn q17(run: &Run) -> Result<Measured, Error> {
    run.bids(
        |b| Tup3(b.auction, b.price, b.date_time),
        |bids| {
            let prices = bids.map_index(|Tup3(auction, price, time)| (Tup2(*auction, day(*time)), *price));
            let sums = prices
                .aggregate_linear_postprocess(|price| Tup2(one(level(*price)), *price), |sums: Tup2<Counts, i64>| sums);
            sums.join_index(&prices.aggregate(Min), |key, sums, least| Some((key.clone(), Tup2(sums.clone(), *least))))
                .join(&prices.aggregate(Max), |Tup2(auction, day), Tup2(Tup2(counts, sum), least), most| {
                    let average = F64::new(*sum as f64 / counts.0 as f64);
                    Tup7(*auction, day_text(*day), counts.clone(), *least, *most, average, *sum)
                })
        },
    )
}
