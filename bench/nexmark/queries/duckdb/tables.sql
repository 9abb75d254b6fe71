CREATE VIEW nexmark AS
SELECT * FROM read_json('{path}', format = 'newline_delimited', columns = {
  Person: 'STRUCT(id BIGINT, name VARCHAR, email_address VARCHAR, credit_card VARCHAR, city VARCHAR, state VARCHAR, date_time BIGINT, extra VARCHAR)',
  Auction: 'STRUCT(id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT, date_time BIGINT, expires BIGINT, seller BIGINT, category BIGINT, extra VARCHAR)',
  Bid: 'STRUCT(auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time BIGINT, extra VARCHAR)'
});

CREATE VIEW person AS
SELECT Person.* EXCLUDE date_time, make_timestamp_ms(Person.date_time) AS date_time FROM nexmark WHERE Person IS NOT NULL;

CREATE VIEW auction AS
SELECT Auction.id, Auction.item_name, Auction.description, Auction.initial_bid, Auction.reserve,
  make_timestamp_ms(Auction.date_time) AS date_time, make_timestamp_ms(Auction.expires) AS expires, Auction.seller,
  Auction.category, Auction.extra
FROM nexmark WHERE Auction IS NOT NULL;

CREATE VIEW bid AS
SELECT Bid.auction, Bid.bidder, Bid.price, Bid.channel, Bid.url, make_timestamp_ms(Bid.date_time) AS date_time, Bid.extra
FROM nexmark WHERE Bid IS NOT NULL;

CREATE TABLE side_input AS SELECT range AS "key", CAST(range AS VARCHAR) AS "value" FROM range(10000)
