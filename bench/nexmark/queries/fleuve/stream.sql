-- The events as the generator writes them: one of the three is there, the others are NULL.
CREATE STREAM nexmark (
  "Person" STRUCT<id BIGINT, name TEXT, email_address TEXT, credit_card TEXT, city TEXT, state TEXT,
    date_time TIMESTAMP(3), extra TEXT>,
  "Auction" STRUCT<id BIGINT, item_name TEXT, description TEXT, initial_bid BIGINT, reserve BIGINT,
    date_time TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra TEXT>,
  "Bid" STRUCT<auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3), extra TEXT>
) WITH (format = 'json');

-- What q13 looks up.
CREATE STREAM side_input ("key" BIGINT, "value" TEXT) WITH (format = 'json', partitions = 1);

INSERT INTO side_input SELECT g.value AS "key", CAST(g.value AS TEXT) AS "value" FROM generate_series(0, 9999) AS g
