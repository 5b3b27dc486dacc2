<?php

/**
 * examples/chat: presence and messages of a room, through Kafka and the gateway.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Examples;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class ChatEmbeddedTest extends TestCase
{
    use RunsPhp;

    public function testTwoUsersSeeEachOtherAndTheirMessages(): void
    {
        $chat = $this->startScript(self::root() . '/examples/chat/run.php', ['env' => ['KAFKA_BROKERS' => null]]);
        $url = $chat->waitForOutput('~Open (http://\S+?)/ in~', 40.0)[1];
        self::assertStringContainsString('<title>Chat</title>', (string) file_get_contents($url));

        $lan = new ChatClient($url);
        $minh = new ChatClient($url);
        self::assertSame(401, $lan->request('/say', ['room' => 'lobby', 'text' => 'before entering'])[0]);
        self::assertSame(['Lan'], $lan->join('Lan', 'lobby'));
        self::assertSame(['Lan', 'Minh'], $minh->join('Minh', 'lobby'));
        self::assertSame('Minh', $lan->await('pusher_internal:member_added')['user_info']['name']);

        [$status] = $minh->request('/say', ['room' => 'lobby', 'text' => 'Chào <b>Lan</b>', 'socket_id' => $minh->socketId]);
        self::assertSame(200, $status);
        $said = $lan->await('said');
        self::assertSame(['Minh', 'Chào <b>Lan</b>'], [$said['name'], $said['text']]);
        self::assertFalse($minh->receives('said', 0.7), 'The sender has already shown it.');

        // Rooms are separate, and other channels are not accessible.
        $lan->request('/say', ['room' => 'kitchen', 'text' => 'elsewhere', 'socket_id' => $lan->socketId]);
        self::assertFalse($minh->receives('said', 0.7));
        $wanted = ['socket_id' => $lan->socketId, 'channel_name' => 'private-user.1'];
        self::assertSame(403, $lan->request('/broadcasting/auth', $wanted)[0]);
        $forged = ['socket_id' => '1.2:presence-room.lobby', 'channel_name' => 'presence-room.lobby'];
        self::assertSame(400, $lan->request('/broadcasting/auth', $forged)[0]);

        $minh->leave();
        self::assertNotEmpty($lan->await('pusher_internal:member_removed', 15.0)['user_id']);
        $chat->signal()->wait(30.0)->assertExit();
    }
}
