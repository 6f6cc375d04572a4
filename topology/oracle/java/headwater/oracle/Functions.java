package headwater.oracle;

import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.streams.KeyValue;

/** The users' functions of the cases, by name; functions.rs has the same. */
final class Functions {
    private Functions() {}

    private static String name(String function) {
        int at = function.indexOf(':');
        return at < 0 ? function : function.substring(0, at);
    }

    private static String argument(String function) {
        int at = function.indexOf(':');
        return at < 0 ? "" : function.substring(at + 1);
    }

    static boolean test(String function, Object key, String value) {
        if (function.startsWith("!")) {
            return !test(function.substring(1), key, value);
        }
        String argument = argument(function);
        switch (name(function)) {
            case "starts":
                return value != null && value.startsWith(argument);
            case "longer":
                return value != null && value.length() > Integer.parseInt(argument);
            case "even":
                return value != null && value.chars().sum() % 2 == 0;
            case "is":
                return argument.equals(value);
            case "key":
                return argument.equals(TextSerde.text(key));
            case "null":
                return value == null;
            case "noKey":
                return key == null;
            default:
                return true;
        }
    }

    static String map(String function, Object key, String value) {
        String argument = argument(function);
        switch (name(function)) {
            case "value":
                return value;
            case "key":
                return TextSerde.text(key);
            case "suffix":
                return value == null ? null : value + argument;
            case "text":
                return value + argument;
            case "keyed":
                return TextSerde.text(key) + argument + value;
            case "bracketed":
                return "[" + TextSerde.text(key) + "]";
            case "prefix":
                return value == null ? null : argument + value;
            case "nullIf":
                return value == null || value.startsWith(argument) ? null : value;
            case "const":
                return argument;
            case "first":
                return value == null || value.isEmpty() ? null : value.substring(0, 1);
            case "firstUnless":
                return value == null || value.isEmpty() || value.startsWith(argument)
                        ? null
                        : value.substring(0, 1);
            case "unless":
                return argument.equals(value) ? null : value;
            case "before":
                return value == null ? null : before(argument, value);
            case "after":
                int at = value == null ? -1 : value.indexOf(argument);
                return at < 0 ? null : value.substring(at + argument.length());
            default:
                return null;
        }
    }

    private static String before(String argument, String value) {
        int at = value.indexOf(argument.charAt(0));
        String found = at < 0 ? value : value.substring(0, at);
        String none = argument.substring(1);
        return !none.isEmpty() && found.equals(none) ? null : found;
    }

    static List<KeyValue<Object, String>> flatMap(String function, Object key, String value) {
        List<KeyValue<Object, String>> found = new ArrayList<>();
        if (value == null) {
            return found;
        }
        switch (function) {
            case "swapAndNull":
                found.add(KeyValue.pair(value, TextSerde.text(key)));
                found.add(KeyValue.pair(null, value));
                break;
            case "twice":
                found.add(KeyValue.pair(key, value + "1"));
                found.add(KeyValue.pair(key, value + "2"));
                break;
            case "letters":
                value.chars().forEach(c -> found.add(KeyValue.pair(key, Character.toString(c))));
                break;
            case "byLetter":
                value.chars().forEach(c -> found.add(KeyValue.pair(Character.toString(c), value)));
                break;
            default:
        }
        return found;
    }

    static String join(String function, String left, String right) {
        return name(function).equals("pair")
                ? "(" + left + "," + right + ")"
                : left + argument(function) + right;
    }

    static String aggregate(String function, String aggregate, String value) {
        String text = value == null ? "~" : value;
        switch (name(function)) {
            case "number":
                return Long.toString((aggregate.isEmpty() ? 0 : Long.parseLong(aggregate)) + 1);
            case "last":
                return text;
            case "appendDel":
                return text.startsWith("DEL") ? null : aggregate + argument(function) + text;
            default:
                return aggregate + argument(function) + text;
        }
    }

    static String reduce(String function, String aggregate, String value) {
        switch (name(function)) {
            case "last":
                return value;
            case "appendDel":
                return value != null && value.startsWith("DEL")
                        ? null
                        : aggregate + argument(function) + value;
            default:
                return aggregate + argument(function) + value;
        }
    }

    static String merge(String function, String one, String other) {
        if (name(function).equals("number")) {
            return Long.toString(number(one) + number(other));
        }
        return one + other;
    }

    private static long number(String text) {
        return text == null || text.isEmpty() ? 0 : Long.parseLong(text);
    }
}
