// Writes murmur2.tsv: keys in hex, their murmur2 and their partition of 12, as Kafka's own Java client has them.
// With kafka-clients and slf4j-api on the class path: java -cp 'libs/*' Murmur2Keys.java > murmur2.tsv

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.utils.Utils;

class Murmur2Keys {
    public static void main(String[] args) {
        List<byte[]> keys = new ArrayList<>();
        for (String key : List.of("", "a", "ab", "abc", "abcd", "card-1", "0", "ü", "Zürich", "карта", "カード", "🂡🂱", "e\u0301", "\0", "\n"))
            keys.add(key.getBytes(UTF_8));
        for (int high = 0x80; high <= 0xff; high += 0x0f)
            for (int length = 1; length <= 5; length++) {
                byte[] key = new byte[length];
                for (int i = 0; i < length; i++) key[i] = (byte) (high - i);
                keys.add(key);
            }
        for (int i = 0; i < 120; i++) keys.add(("card-" + i).getBytes(UTF_8));
        Random random = new Random(20251202);
        for (int i = 0; i < 80; i++) {
            byte[] uuid = new byte[16];
            random.nextBytes(uuid);
            keys.add(java.util.UUID.nameUUIDFromBytes(uuid).toString().getBytes(UTF_8));
        }
        for (int length = 0; length < 64; length++)
            for (int i = 0; i < 4; i++) {
                byte[] key = new byte[length];
                random.nextBytes(key);
                keys.add(key);
            }
        for (byte[] key : keys)
            System.out.println(HexFormat.of().formatHex(key) + "\t" + Utils.murmur2(key) + "\t"
                + BuiltInPartitioner.partitionForKey(key, 12));
    }
}
