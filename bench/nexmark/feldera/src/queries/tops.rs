//! Queries that keep the first rows of each group.

use std::cmp::Ordering;

use dbsp::CmpFunc;
use dbsp::operator::{Max, Min};
use dbsp::utils::{Tup2, Tup4, Tup5, Tup6, Tup7, Tup8, Tup10};

use crate::run::{Error, Measured, Run};
use crate::text::Text;

/// The winning bid of each auction.
pub fn q9(run: &Run) -> Result<Measured, Error> {
    run.auctions_and_bids(
        |a| {
            let (item, description, extra) = (Text::new(&a.item_name), Text::new(&a.description), Text::new(&a.extra));
            Tup10(
                a.id,
                item,
                description,
                a.initial_bid,
                a.reserve,
                a.date_time,
                a.expires,
                a.seller,
                a.category,
                extra,
            )
        },
        |b| Tup5(b.auction, b.bidder, b.price, b.date_time, Text::new(&b.extra)),
        |auctions, bids| {
            // The highest price is the least negative one; of equal ones the earliest bid wins.
            let bids = bids.map_index(|Tup5(auction, bidder, price, time, extra)| {
                (*auction, Tup4(-price, *time, *bidder, extra.clone()))
            });
            auctions
                .map_index(|auction| (auction.0, auction.clone()))
                .join_index(&bids, |id, auction, bid| {
                    (auction.5..=auction.6).contains(&bid.1).then(|| (*id, Tup2(bid.clone(), auction.clone())))
                })
                .aggregate(Min)
                .map(|(id, Tup2(Tup4(price, time, bidder, extra), auction))| {
                    Tup2(auction.clone(), Tup5(*id, *bidder, -price, *time, extra.clone()))
                })
        },
    )
}

/// The last bid of each bidder on each auction.
pub fn q18(run: &Run) -> Result<Measured, Error> {
    run.bids(
        |b| {
            let (channel, url, extra) = (Text::new(&b.channel), Text::new(&b.url), Text::new(&b.extra));
            Tup7(b.auction, b.bidder, b.price, channel, url, b.date_time, extra)
        },
        |bids| {
            bids.map_index(|Tup7(auction, bidder, price, channel, url, time, extra)| {
                (Tup2(*bidder, *auction), Tup5(*time, *price, channel.clone(), url.clone(), extra.clone()))
            })
            .aggregate(Max)
            .map(|(Tup2(bidder, auction), Tup5(time, price, channel, url, extra))| {
                Tup7(*auction, *bidder, *price, channel.clone(), url.clone(), *time, extra.clone())
            })
        },
    )
}

/// A bid without its auction, the price first.
type OfAuction = Tup6<i64, i64, Text, Text, i64, Text>;

/// Higher prices first.
struct ByPrice;

impl CmpFunc<OfAuction> for ByPrice {
    fn cmp(left: &OfAuction, right: &OfAuction) -> Ordering {
        right.0.cmp(&left.0).then_with(|| left.cmp(right))
    }
}

/// The ten highest bids of each auction.
pub fn q19(run: &Run) -> Result<Measured, Error> {
    run.bids(
        |b| {
            let (channel, url, extra) = (Text::new(&b.channel), Text::new(&b.url), Text::new(&b.extra));
            Tup7(b.auction, b.bidder, b.price, channel, url, b.date_time, extra)
        },
        |bids| {
            bids.map_index(|Tup7(auction, bidder, price, channel, url, time, extra)| {
                (*auction, Tup6(*price, *bidder, channel.clone(), url.clone(), *time, extra.clone()))
            })
            .topk_row_number_custom_order::<ByPrice, _, _>(10, |place, bid| Tup2(place, bid.clone()))
            .map(|(auction, Tup2(place, Tup6(price, bidder, channel, url, time, extra)))| {
                Tup8(*auction, *bidder, *price, channel.clone(), url.clone(), *time, extra.clone(), *place)
            })
        },
    )
}
