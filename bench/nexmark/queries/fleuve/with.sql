WITH person AS (
  SELECT "Person".id AS id, "Person".name AS name, "Person".email_address AS email_address,
    "Person".credit_card AS credit_card, "Person".city AS city, "Person".state AS state,
    "Person".date_time AS date_time, "Person".extra AS extra
  FROM nexmark WHERE "Person" IS NOT NULL
), auction AS (
  SELECT "Auction".id AS id, "Auction".item_name AS item_name, "Auction".description AS description,
    "Auction".initial_bid AS initial_bid, "Auction".reserve AS reserve, "Auction".date_time AS date_time,
    "Auction".expires AS expires, "Auction".seller AS seller, "Auction".category AS category, "Auction".extra AS extra
  FROM nexmark WHERE "Auction" IS NOT NULL
), bid AS (
  SELECT "Bid".auction AS auction, "Bid".bidder AS bidder, "Bid".price AS price, "Bid".channel AS channel,
    "Bid".url AS url, "Bid".date_time AS date_time, "Bid".extra AS extra
  FROM nexmark WHERE "Bid" IS NOT NULL
)
