CREATE TABLE nexmark (
  Person ROW<id BIGINT, name STRING, email_address STRING, credit_card STRING, city STRING, state STRING,
    date_time BIGINT, extra STRING>,
  Auction ROW<id BIGINT, item_name STRING, description STRING, initial_bid BIGINT, reserve BIGINT,
    date_time BIGINT, expires BIGINT, seller BIGINT, category BIGINT, extra STRING>,
  Bid ROW<auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, date_time BIGINT, extra STRING>,
  date_time AS TO_TIMESTAMP_LTZ(COALESCE(Person.date_time, Auction.date_time, Bid.date_time), 3),
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'json');

CREATE VIEW person AS
SELECT Person.id, Person.name, Person.email_address, Person.credit_card, Person.city, Person.state, date_time, Person.extra
FROM nexmark WHERE Person IS NOT NULL;

CREATE VIEW auction AS
SELECT Auction.id, Auction.item_name, Auction.description, Auction.initial_bid, Auction.reserve, date_time,
  TO_TIMESTAMP_LTZ(Auction.expires, 3) AS expires, Auction.seller, Auction.category, Auction.extra
FROM nexmark WHERE Auction IS NOT NULL;

CREATE VIEW bid AS
SELECT Bid.auction, Bid.bidder, Bid.price, Bid.channel, Bid.url, date_time, Bid.extra
FROM nexmark WHERE Bid IS NOT NULL;

CREATE VIEW clocked_bid AS
SELECT bidder, PROCTIME() AS came FROM bid;

CREATE TABLE side_rows (`key` BIGINT) WITH (
  'connector' = 'datagen', 'number-of-rows' = '10000',
  'fields.key.kind' = 'sequence', 'fields.key.start' = '0', 'fields.key.end' = '9999'
);

CREATE VIEW side_input AS
SELECT `key`, CAST(`key` AS STRING) AS `value` FROM side_rows
