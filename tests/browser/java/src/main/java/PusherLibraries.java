// Pusher's Java client and server library against a gateway. Arguments: host:port, app id, key, secret.

import com.pusher.client.Pusher;
import com.pusher.client.PusherOptions;
import com.pusher.client.channel.PresenceChannelEventListener;
import com.pusher.client.channel.PrivateChannelEventListener;
import com.pusher.client.channel.PusherEvent;
import com.pusher.client.channel.User;
import com.pusher.client.connection.ConnectionEventListener;
import com.pusher.client.connection.ConnectionState;
import com.pusher.client.connection.ConnectionStateChange;
import com.pusher.rest.data.Event;
import com.pusher.rest.data.PresenceUser;
import com.pusher.rest.data.Result;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

public final class PusherLibraries {
    private static final BlockingQueue<String> GOT = new LinkedBlockingQueue<>();

    private PusherLibraries() {
    }

    public static void main(String[] arguments) throws Exception {
        String[] address = arguments[0].split(":");
        var server = new com.pusher.rest.Pusher(arguments[1], arguments[2], arguments[3]);
        server.setHost(arguments[0]);
        var options = new PusherOptions().setHost(address[0]).setWsPort(Integer.parseInt(address[1])).setUseTLS(false)
            .setChannelAuthorizer((channel, socket) -> channel.startsWith("presence-")
                ? server.authenticate(socket, channel, new PresenceUser("ann", Map.of("name", "Ann")))
                : server.authenticate(socket, channel));
        var client = new Pusher(arguments[2], options);
        client.connect(new States(), ConnectionState.ALL);
        expect("state CONNECTED");
        client.subscribePrivate("private-java", new Events(), "paid");
        expect("subscribed private-java");
        client.subscribePresence("presence-java", new Members(), "client-x");
        expect("users 1");
        // Events flow to the client for several activity timeouts: it answers control pings only.
        for (int i = 0; i < 30; i++) {
            check("trigger", server.trigger("private-java", "paid", i), 200);
            Thread.sleep(100);
        }
        expect("event paid 29");
        // Silence for several activity timeouts.
        Thread.sleep(5000);
        check("trigger", server.trigger("private-java", "paid", "last"), 200);
        expect("event paid \"last\"");
        library(server);
        client.disconnect();
        expect("state DISCONNECTED");
        System.out.println("complete");
        System.exit(0);
    }

    private static void library(com.pusher.rest.Pusher server) {
        check("several", server.trigger(List.of("private-java", "presence-java"), "e", Map.of("x", "ü"), "1.2"), 200);
        check("batch", server.trigger(List.of(new Event("private-java", "e", 1), new Event("private-b", "e", 2, "1.2"))), 200);
        check("large", server.trigger("private-java", "e", "x".repeat(20_000)), 413);
        check("reserved", server.trigger("private-java", "pusher:e", 1), 400);
        String users = check("channel", server.get("/channels/presence-java", Map.of("info", "user_count")), 200);
        require(users.contains("\"user_count\":1"), users);
        String all = check("users", server.get("/channels/presence-java/users"), 200);
        require(all.equals("{\"users\":[{\"id\":\"ann\"}]}"), all);
        String event = "{\"name\":\"e\",\"channel\":\"private-java\",\"data\":\"1\",\"info\":\"subscription_count\"}";
        String info = check("info", server.post("/events", event), 200);
        require(info.equals("{\"channels\":{\"private-java\":{\"subscription_count\":1}}}"), info);
    }

    private static String check(String what, Result result, int status) {
        require(Integer.valueOf(status).equals(result.getHttpStatus()), what + ": " + result.getHttpStatus() + " " + result.getMessage());
        return result.getMessage();
    }

    private static void require(boolean holds, String otherwise) {
        if (!holds) {
            System.out.println("failed: " + otherwise);
            System.exit(1);
        }
    }

    /** Waits for an event; a lost connection or a refused subscription is a failure. */
    private static void expect(String wanted) throws InterruptedException {
        String got;
        do {
            got = GOT.poll(20, TimeUnit.SECONDS);
            require(got != null, "no " + wanted);
            boolean lost = got.equals("state DISCONNECTED") || got.startsWith("error") || got.startsWith("refused");
            require(got.equals(wanted) || !lost, got + " before " + wanted);
        } while (!got.equals(wanted));
        System.out.println(wanted);
    }

    private static final class States implements ConnectionEventListener {
        @Override
        public void onConnectionStateChange(ConnectionStateChange change) {
            GOT.add("state " + change.getCurrentState());
        }

        @Override
        public void onError(String message, String code, Exception exception) {
            GOT.add("error " + code + " " + message + " " + exception);
        }
    }

    private static class Events implements PrivateChannelEventListener {
        @Override
        public void onEvent(PusherEvent event) {
            GOT.add("event " + event.getEventName() + " " + event.getData());
        }

        @Override
        public void onSubscriptionSucceeded(String channel) {
            GOT.add("subscribed " + channel);
        }

        @Override
        public void onAuthenticationFailure(String message, Exception exception) {
            GOT.add("refused " + message + " " + exception);
        }
    }

    private static final class Members extends Events implements PresenceChannelEventListener {
        @Override
        public void onUsersInformationReceived(String channel, Set<User> users) {
            GOT.add("users " + users.size());
        }

        @Override
        public void userSubscribed(String channel, User user) {
            GOT.add("added " + user.getId());
        }

        @Override
        public void userUnsubscribed(String channel, User user) {
            GOT.add("removed " + user.getId());
        }
    }
}
