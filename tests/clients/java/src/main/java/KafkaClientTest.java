import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java client against a server at $FLEUVE_KAFKA. Prints "N passed, N failed"; ends with 1 if any failed. */
public final class KafkaClientTest {
    private static final String BOOTSTRAP =
            System.getenv().getOrDefault("FLEUVE_KAFKA", "localhost:9092");
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private interface Check {
        void run(Admin admin, String topic) throws Exception;
    }

    private static int passed;
    private static int failed;

    public static void main(String[] args) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", BOOTSTRAP))) {
            check(admin, "produce and consume, every compression", KafkaClientTest::compressions);
            check(admin, "keys, headers, timestamps, tombstones", KafkaClientTest::recordParts);
            check(admin, "idempotent producer keeps order", KafkaClientTest::idempotence);
            check(admin, "two members share, one takes over", KafkaClientTest::groups);
            check(admin, "committed offsets stay", KafkaClientTest::commits);
            check(admin, "offsets by time", KafkaClientTest::offsets);
            check(admin, "topics are described, grown, deleted", KafkaClientTest::topics);
            check(admin, "settings", KafkaClientTest::settings);
            check(admin, "groups are listed, described, deleted", KafkaClientTest::groupAdmin);
            check(admin, "records are deleted", KafkaClientTest::deleteRecords);
            check(admin, "transactions are refused", KafkaClientTest::transactions);
        }
        System.out.println(passed + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }

    private static void check(Admin admin, String what, Check check) {
        String topic = name("java");
        try {
            admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1))).all().get();
            check.run(admin, topic);
            passed++;
            System.out.println("ok      " + what);
        } catch (Throwable e) {
            failed++;
            System.out.println("FAILED  " + what);
            e.printStackTrace(System.out);
        } finally {
            admin.deleteTopics(List.of(topic));
        }
    }

    private static void compressions(Admin admin, String topic) throws Exception {
        Set<String> sent = new HashSet<>();
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            try (var producer = producer(Map.of("compression.type", codec, "linger.ms", "20"))) {
                for (int i = 0; i < 300; i++) {
                    String value = codec + " " + i + " " + "x".repeat(100);
                    sent.add(value);
                    producer.send(new ProducerRecord<>(topic, value));
                }
            }
        }
        Set<String> got = new HashSet<>();
        read(topic, sent.size()).forEach(r -> got.add(r.value()));
        same(sent, got);
    }

    private static void recordParts(Admin admin, String topic) throws Exception {
        try (var producer = producer(Map.of())) {
            var record = new ProducerRecord<>(topic, 1, 1_700_000_000_123L, "k", "v");
            record.headers().add("h", "1".getBytes(StandardCharsets.UTF_8));
            record.headers().add("h", "2".getBytes(StandardCharsets.UTF_8));
            producer.send(record).get();
            producer.send(new ProducerRecord<>(topic, 1, "gone", null)).get();
        }
        var records = read(topic, 2);
        var first = records.get(0);
        same("k", first.key());
        same("v", first.value());
        same(1_700_000_000_123L, first.timestamp());
        same(2, first.headers().toArray().length);
        same("2", new String(first.headers().lastHeader("h").value(), StandardCharsets.UTF_8));
        same(null, records.get(1).value());
    }

    private static void idempotence(Admin admin, String topic) throws Exception {
        List<Future<RecordMetadata>> acks = new ArrayList<>();
        try (var producer = producer(Map.of("enable.idempotence", "true", "acks", "all"))) {
            for (int i = 0; i < 5000; i++) {
                acks.add(producer.send(new ProducerRecord<>(topic, 0, null, Integer.toString(i))));
            }
        }
        for (int i = 0; i < acks.size(); i++) {
            same((long) i, acks.get(i).get().offset());
        }
        var records = read(topic, 5000);
        for (int i = 0; i < records.size(); i++) {
            same(Integer.toString(i), records.get(i).value());
        }
    }

    private static void groups(Admin admin, String topic) throws Exception {
        String group = name("g");
        var left = consumer(group, Map.of());
        var right = consumer(group, Map.of());
        try {
            left.subscribe(List.of(topic));
            right.subscribe(List.of(topic));
            List<ConsumerRecord<String, String>> got = new ArrayList<>();
            Runnable poll = () -> {
                left.poll(Duration.ofMillis(100)).forEach(got::add);
                right.poll(Duration.ofMillis(100)).forEach(got::add);
            };
            until("both members have a share", () -> {
                poll.run();
                int l = left.assignment().size();
                int r = right.assignment().size();
                return l + r == 3 && l > 0 && r > 0;
            });
            try (var producer = producer(Map.of())) {
                for (int i = 0; i < 30; i++) {
                    producer.send(new ProducerRecord<>(topic, i % 3, null, "m" + i));
                }
            }
            until("all records came", () -> {
                poll.run();
                return got.size() >= 30;
            });
            same(30, got.size());
            left.commitSync();
            right.commitSync();
            left.close();
            until("the other takes over", () -> {
                right.poll(Duration.ofMillis(100)).forEach(got::add);
                return right.assignment().size() == 3;
            });
            same(30, got.size());
        } finally {
            left.close();
            right.close();
        }
    }

    private static void commits(Admin admin, String topic) throws Exception {
        String group = name("g");
        var part = new TopicPartition(topic, 0);
        try (var producer = producer(Map.of())) {
            for (int i = 0; i < 4; i++) {
                producer.send(new ProducerRecord<>(topic, 0, null, Integer.toString(i)));
            }
        }
        try (var first = consumer(group, Map.of())) {
            first.subscribe(List.of(topic));
            collect(first, 4);
            first.commitSync(Map.of(part, new OffsetAndMetadata(2, "two read")));
        }
        try (var second = consumer(group, Map.of())) {
            var committed = second.committed(Set.of(part)).get(part);
            same(2L, committed.offset());
            same("two read", committed.metadata());
            second.subscribe(List.of(topic));
            same("2", collect(second, 2).get(0).value());
        }
    }

    private static void offsets(Admin admin, String topic) throws Exception {
        var part = new TopicPartition(topic, 0);
        try (var producer = producer(Map.of())) {
            for (int i = 0; i < 10; i++) {
                producer.send(new ProducerRecord<>(topic, 0, 1_000_000L + i * 1000, null, "v")).get();
            }
        }
        try (var consumer = consumer(name("g"), Map.of())) {
            same(0L, consumer.beginningOffsets(List.of(part)).get(part));
            same(10L, consumer.endOffsets(List.of(part)).get(part));
            same(4L, consumer.offsetsForTimes(Map.of(part, 1_003_001L)).get(part).offset());
            same(null, consumer.offsetsForTimes(Map.of(part, 2_000_000L)).get(part));
        }
        same(9L, admin.listOffsets(Map.of(part, OffsetSpec.maxTimestamp())).partitionResult(part).get().offset());
        same(0L, admin.listOffsets(Map.of(part, OffsetSpec.earliest())).partitionResult(part).get().offset());
    }

    private static void topics(Admin admin, String topic) throws Exception {
        TopicDescription described = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
        same(3, described.partitions().size());
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
        same(5, admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
        same(true, admin.listTopics().names().get().contains(topic));
        throwsCause(TopicExistsException.class,
                () -> admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get());
        admin.deleteTopics(List.of(topic)).all().get();
        throwsCause(UnknownTopicOrPartitionException.class,
                () -> admin.describeTopics(List.of(topic)).allTopicNames().get());
        same(1, admin.describeCluster().nodes().get().size());
    }

    private static void settings(Admin admin, String topic) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        var set = new AlterConfigOp(new ConfigEntry("retention.ms", "3600000"), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all().get();
        Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
        same("3600000", config.get("retention.ms").value());
        same(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, config.get("retention.ms").source());
        same(ConfigEntry.ConfigType.LIST, config.get("cleanup.policy").type());
        String broker = Integer.toString(admin.describeCluster().controller().get().id());
        var node = new ConfigResource(ConfigResource.Type.BROKER, broker);
        same("1", admin.describeConfigs(List.of(node)).all().get().get(node).get("default.replication.factor").value());
    }

    private static void groupAdmin(Admin admin, String topic) throws Exception {
        String group = name("g");
        try (var producer = producer(Map.of())) {
            producer.send(new ProducerRecord<>(topic, 0, null, "v")).get();
        }
        try (var consumer = consumer(group, Map.of())) {
            consumer.subscribe(List.of(topic));
            collect(consumer, 1);
            consumer.commitSync();
            var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
            same(GroupState.STABLE, described.groupState());
            same(3, described.members().iterator().next().assignment().topicPartitions().size());
        }
        same(true, admin.listGroups().all().get().stream().anyMatch(g -> g.groupId().equals(group)));
        var offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        same(1L, offsets.get(new TopicPartition(topic, 0)).offset());
        admin.deleteConsumerGroups(List.of(group)).all().get();
        same(false, admin.listGroups().all().get().stream().anyMatch(g -> g.groupId().equals(group)));
    }

    private static void deleteRecords(Admin admin, String topic) throws Exception {
        var part = new TopicPartition(topic, 0);
        try (var producer = producer(Map.of())) {
            for (int i = 0; i < 10; i++) {
                producer.send(new ProducerRecord<>(topic, 0, null, Integer.toString(i))).get();
            }
        }
        var deleted = admin.deleteRecords(Map.of(part, RecordsToDelete.beforeOffset(6)));
        same(6L, deleted.lowWatermarks().get(part).get().lowWatermark());
        same("6", read(topic, 4).get(0).value());
    }

    private static void transactions(Admin admin, String topic) {
        try (var producer = producer(Map.of("transactional.id", name("tx")))) {
            try {
                producer.initTransactions();
            } catch (KafkaException e) {
                return;
            }
            throw new AssertionError("initTransactions went through");
        }
    }

    // What the checks stand on.

    private static KafkaProducer<String, String> producer(Map<String, String> more) {
        Properties p = new Properties();
        p.put("bootstrap.servers", BOOTSTRAP);
        p.putAll(more);
        return new KafkaProducer<>(p, new StringSerializer(), new StringSerializer());
    }

    private static KafkaConsumer<String, String> consumer(String group, Map<String, String> more) {
        Map<String, Object> p = new HashMap<>();
        p.put("bootstrap.servers", BOOTSTRAP);
        p.put("group.id", group);
        p.put("auto.offset.reset", "earliest");
        p.put("enable.auto.commit", "false");
        p.put("session.timeout.ms", "6000");
        p.put("heartbeat.interval.ms", "500");
        p.putAll(more);
        return new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer());
    }

    private static List<ConsumerRecord<String, String>> read(String topic, int count) {
        try (var consumer = consumer(name("g"), Map.of())) {
            consumer.subscribe(List.of(topic));
            return collect(consumer, count);
        }
    }

    private static List<ConsumerRecord<String, String>> collect(KafkaConsumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        until(count + " records", () -> {
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
            return records.size() >= count;
        });
        return records;
    }

    private static void until(String what, BooleanSupplier done) {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (!done.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("waited in vain: " + what);
            }
        }
    }

    private interface Call {
        void run() throws Exception;
    }

    private static void throwsCause(Class<? extends Throwable> wanted, Call call) throws Exception {
        try {
            call.run();
        } catch (ExecutionException e) {
            if (wanted.isInstance(e.getCause())) {
                return;
            }
            throw e;
        }
        throw new AssertionError("no " + wanted.getSimpleName());
    }

    private static void same(Object wanted, Object got) {
        boolean equal = wanted == null ? got == null : wanted.equals(got);
        if (!equal) {
            throw new AssertionError("wanted " + wanted + ", got " + got);
        }
    }

    private static String name(String prefix) {
        return prefix + "-" + UUID.randomUUID();
    }

    private KafkaClientTest() {}
}
