//! Queries of windows of time.

use std::time::{SystemTime, UNIX_EPOCH};

use dbsp::ZWeight;
use dbsp::algebra::UnimplementedSemigroup;
use dbsp::operator::{Fold, Max};
use dbsp::utils::{Tup2, Tup3, Tup4, Tup5};

use crate::run::{Error, Measured, Run};
use crate::text::Text;
use crate::time::{SECOND, window};

const TEN: i64 = 10 * SECOND;

/// The auctions with the most bids in the last 10 seconds, every 2 seconds.
pub fn q5(run: &Run) -> Result<Measured, Error> {
    const SLIDE: i64 = 2 * SECOND;
    run.bids(
        |b| Tup2(b.auction, b.date_time),
        |bids| {
            let counted = bids
                .flat_map(|Tup2(auction, time)| {
                    let (auction, last) = (*auction, window(*time, SLIDE));
                    (0..TEN / SLIDE).map(move |slide| Tup2(last - slide * SLIDE, auction))
                })
                .weighted_count();
            let most = counted.map_index(|(Tup2(start, _), count)| (*start, *count)).aggregate(Max);
            counted
                .map_index(|(Tup2(start, auction), count)| (Tup2(*start, *count), *auction))
                .join(&most.map_index(|(start, most)| (Tup2(*start, *most), ())), |Tup2(_, count), auction, ()| {
                    Tup2(*auction, *count)
                })
        },
    )
}

/// The highest bids of each 10 seconds. A bid at the end of a window belongs to it, too.
pub fn q7(run: &Run) -> Result<Measured, Error> {
    run.bids(
        |b| Tup5(b.auction, b.bidder, b.price, b.date_time, Text::new(&b.extra)),
        |bids| {
            let highest = bids
                .map_index(|Tup5(_, _, price, time, _)| (window(*time, TEN), *price))
                .aggregate(Max)
                .map_index(|(start, highest)| (*highest, *start));
            bids.map_index(|bid| (bid.2, bid.clone()))
                .join_flatmap(&highest, |_, bid, start| (*start..=start + TEN).contains(&bid.3).then(|| bid.clone()))
        },
    )
}

/// People who came and opened auctions within the same 10 seconds.
pub fn q8(run: &Run) -> Result<Measured, Error> {
    run.persons_and_auctions(
        |p| Tup3(p.id, Text::new(&p.name), p.date_time),
        |a| Tup2(a.seller, a.date_time),
        |persons, auctions| {
            let came = persons.map(|Tup3(id, name, time)| Tup3(*id, name.clone(), window(*time, TEN))).distinct();
            let opened = auctions.map(|Tup2(seller, time)| Tup2(*seller, window(*time, TEN))).distinct();
            came.map_index(|Tup3(id, name, start)| (Tup2(*id, *start), name.clone())).join(
                &opened.map_index(|Tup2(seller, start)| (Tup2(*seller, *start), ())),
                |Tup2(id, start), name, ()| Tup3(*id, name.clone(), *start),
            )
        },
    )
}

/// How many bids a user made in each session of activity.
pub fn q11(run: &Run) -> Result<Measured, Error> {
    type Sessions = Vec<Tup3<i64, i64, i64>>;
    run.bids(
        |b| Tup2(b.bidder, b.date_time),
        |bids| {
            // Times come in order; a session is its first and last time and its bids.
            let sessions =
                Fold::<i64, Sessions, UnimplementedSemigroup<Sessions>, _, _>::new(Sessions::new(), add_to_sessions);
            bids.map_index(|Tup2(bidder, time)| (*bidder, *time)).aggregate(sessions).flat_map(|(bidder, sessions)| {
                let bidder = *bidder;
                let sessions = sessions.clone().into_iter();
                sessions.map(move |Tup3(first, last, bids)| Tup4(bidder, bids, first, last + TEN))
            })
        },
    )
}

fn add_to_sessions(sessions: &mut Vec<Tup3<i64, i64, i64>>, time: &i64, bids: ZWeight) {
    match sessions.last_mut() {
        Some(Tup3(_, last, count)) if time - *last <= TEN => {
            *last = *time;
            *count += bids;
        }
        _ => sessions.push(Tup3(*time, *time, bids)),
    }
}

/// How many bids each bidder makes in each 10 seconds of the clock.
pub fn q12(run: &Run) -> Result<Measured, Error> {
    run.bids(
        |b| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
            Tup2(b.bidder, window(now, TEN))
        },
        |bids| bids.weighted_count().map(|(Tup2(bidder, _), count)| Tup2(*bidder, *count)),
    )
}
