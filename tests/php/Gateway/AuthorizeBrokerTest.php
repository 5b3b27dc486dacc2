<?php

/**
 * The native authorizer: correct signatures for permitted subscriptions, none for anything else.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Realtime;

final class AuthorizeBrokerTest extends GatewayTestCase
{
    private function sign(string $text): string
    {
        return 'shop-key:' . hash_hmac('sha256', $text, $this->secret);
    }

    public function testAPrivateChannel(): void
    {
        $answer = Gateway::authorize('1234.5678', 'private-order.7', null, $this->settings());
        self::assertSame(['auth' => $this->sign('1234.5678:private-order.7')], $answer);
    }

    public function testAPresenceChannelSignsTheMember(): void
    {
        $answer = Gateway::authorize(
            '1.2',
            'presence-chat.1',
            ['user_id' => 7, 'user_info' => ['name' => 'Ánh "A" </script>', 'tags' => []]],
            $this->settings()
        );
        self::assertSame(['auth', 'channel_data'], array_keys($answer));
        $member = json_decode($answer['channel_data'], true);
        self::assertSame(['user_id' => '7', 'user_info' => ['name' => 'Ánh "A" </script>', 'tags' => []]], $member);
        self::assertSame($this->sign('1.2:presence-chat.1:' . $answer['channel_data']), $answer['auth']);
        $bare = Gateway::authorize('1.2', 'presence-chat.1', ['user_id' => 'u'], $this->settings());
        self::assertSame('{"user_id":"u"}', $bare['channel_data']);
    }

    public function testAnEncryptedChannelGetsItsOwnKeyOnly(): void
    {
        $channel = 'private-encrypted-order.7';
        $with = $this->settings(['encryption_master_key' => self::MASTER_KEY]);
        $answer = Gateway::authorize('1.2', $channel, null, $with);
        $expected = hash('sha256', $channel . base64_decode(self::MASTER_KEY), true);
        self::assertSame(base64_encode($expected), $answer['shared_secret']);
        self::assertSame($this->sign("1.2:$channel"), $answer['auth']);
        self::assertArrayNotHasKey('shared_secret', Gateway::authorize('1.2', 'private-order.7', null, $with));
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('REALTIME_ENCRYPTION_MASTER_KEY');
        Gateway::authorize('1.2', $channel, null, $this->settings());
    }

    /**
     * An endpoint that signs any input forges members: socket_id "1.2:presence-room" with a channel named
     * {"user_id":"admin"} would be the signature of a member.
     *
     * @dataProvider oracles
     *
     * @param array<string, mixed>|null $presence
     */
    #[DataProvider('oracles')]
    public function testNothingElseIsSigned(string $socket, string $channel, ?array $presence = null): void
    {
        $this->expectException(InvalidChannelException::class);
        Gateway::authorize($socket, $channel, $presence, $this->settings());
    }

    /** @return array<string, list<mixed>> */
    public static function oracles(): array
    {
        return [
            'a channel in the socket id' => ['1.2:presence-room', '{"user_id":"admin"}'],
            'a sign-in' => ['1.2::user:', '{"id":"admin"}'],
            'no socket id' => ['', 'private-a'],
            'one number' => ['12', 'private-a'],
            'letters' => ['1.a', 'private-a'],
            'a newline behind it' => ["1.2\n", 'private-a'],
            'spaces' => [' 1.2', 'private-a'],
            'a plain channel' => ['1.2', 'news'],
            'no channel' => ['1.2', ''],
            'a newline behind the channel' => ['1.2', "private-a\n"],
            'a colon in it' => ['1.2', 'private-a:b'],
            'a quote in it' => ['1.2', 'private-"'],
            'beyond ASCII' => ['1.2', 'private-ä'],
            'too long' => ['1.2', 'private-' . str_repeat('a', 160)],
            'a user channel' => ['1.2', '#server-to-user-7'],
            'the guard in capitals' => ['1.2', 'Private-a'],
            'a member of a private channel' => ['1.2', 'private-a', ['user_id' => 7]],
            'a presence channel without a member' => ['1.2', 'presence-a'],
        ];
    }

    /**
     * @dataProvider members
     *
     * @param array<string, mixed> $presence
     */
    #[DataProvider('members')]
    public function testInvalidMembers(array $presence, string $says): void
    {
        $this->expectException(EncodingException::class);
        $this->expectExceptionMessage($says);
        Gateway::authorize('1.2', 'presence-a', $presence, $this->settings());
    }

    /** @return array<string, array{array<string, mixed>, string}> */
    public static function members(): array
    {
        return [
            'no id' => [['user_info' => []], "'user_id'"],
            'an empty id' => [['user_id' => ''], "'user_id'"],
            'an id of null' => [['user_id' => null], "'user_id'"],
            'true' => [['user_id' => true], "'user_id'"],
            'a long id' => [['user_id' => str_repeat('u', 129)], '128'],
            'control characters' => [['user_id' => "7\n"], 'control characters'],
            'too much user information' => [['user_id' => 7, 'user_info' => str_repeat('x', 1100)], 'max_user_info'],
            'no JSON' => [['user_id' => 7, 'user_info' => ["\xff"]], 'UTF-8'],
            'another key' => [['user_id' => 7, 'id' => 8], "not 'id'"],
        ];
    }

    public function testASignIn(): void
    {
        $user = ['id' => 7, 'user_info' => ['name' => 'Ánh']];
        $answer = Gateway::authenticate('1.2', $user, $this->settings());
        self::assertSame(['auth', 'user_data'], array_keys($answer));
        self::assertSame(['id' => '7'] + $user, json_decode($answer['user_data'], true));
        self::assertSame($this->sign('1.2::user::' . $answer['user_data']), $answer['auth']);
        foreach ([[], ['id' => ''], ['id' => null], ['id' => "\0"]] as $wrong) {
            try {
                Gateway::authenticate('1.2', $wrong, $this->settings());
                self::fail('signed');
            } catch (EncodingException $e) {
                self::assertStringContainsString("'id'", $e->getMessage());
            }
        }
        $this->expectException(InvalidChannelException::class);
        Gateway::authenticate('1.2:presence-a', ['id' => 7], $this->settings());
    }

    public function testTheSettingsOfTheApplicationAreUsed(): void
    {
        Realtime::configure(['gateway' => ['key' => 'shop-key', 'secrets' => [$this->secret]]]);
        self::assertSame($this->sign('1.2:private-a'), Gateway::authorize('1.2', 'private-a')['auth']);
        Realtime::configure([]);
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('REALTIME_APP_KEY');
        Gateway::authorize('1.2', 'private-a');
    }

    public function testTheConfigurationIsTheEffectiveOne(): void
    {
        self::assertSame('', Gateway::configuration()['secret']);
        putenv('REALTIME_ALLOWED_ORIGINS=https://a.example, file://');
        try {
            Realtime::configure(['gateway' => ['key' => 'k', 'secrets' => [$this->secret, 'old'], 'ops_listen' => false,
                'host' => '[::1]', 'max_connections' => 7, 'webhook_urls' => 'https://a, https://b']]);
            $settings = Gateway::configuration();
        } finally {
            putenv('REALTIME_ALLOWED_ORIGINS');
            Realtime::configure([]);
        }
        self::assertSame(['app_id' => '', 'key' => 'k', 'secret' => $this->secret, 'host' => '::1', 'port' => 6001,
            'ops_listen' => null, 'allowed_origins' => ['https://a.example', 'file://'],
            'trusted_proxies' => [], 'webhook_urls' => ['https://a', 'https://b'], 'max_connections' => 7], $settings);
    }

    public function testTheConfigurationRefusesWhatNoGatewayStartsWith(): void
    {
        $wrong = ['allowed_origins' => 'shop.example', 'trusted_proxies' => '10.0.0.0/33', 'ops_listen' => '127.0.0.1:6001'];
        foreach ($wrong as $name => $value) {
            Realtime::configure(['gateway' => [$name => $value]]);
            try {
                Gateway::configuration();
                self::fail("$name was accepted.");
            } catch (ConfigurationException $e) {
                self::assertStringContainsString("realtime.gateway.$name", $e->getMessage());
            } finally {
                Realtime::configure([]);
            }
        }
    }

    public function testASecretThatAGatewayWouldRefuseSignsNothing(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('shorter than 32');
        Gateway::authorize('1.2', 'private-a', null, $this->settings(['secrets' => ['secret']]));
    }

    public function testTheGatewayAcceptsTheSignature(): void
    {
        $gateway = $this->gateway(['encryption_master_key' => self::MASTER_KEY]);
        $client = $this->client($gateway, ['encryption_master_key' => self::MASTER_KEY]);
        $client->subscribe('private-a');
        $client->subscribe('private-encrypted-a');
        $joined = $client->subscribe('presence-a', ['user_id' => 7, 'user_info' => ['name' => 'Ánh']]);
        self::assertSame(
            ['ids' => ['7'], 'hash' => ['7' => ['name' => 'Ánh']], 'count' => 1],
            $joined['data']['presence']
        );
        $client->say('pusher:signin', Gateway::authenticate($client->socketId, ['id' => 7], $this->settings()));
        self::assertSame('7', json_decode($client->event('pusher:signin_success')['data']['user_data'], true)['id']);
        $client->say('pusher:subscribe', ['channel' => '#server-to-user-7']);
        $client->event('pusher_internal:subscription_succeeded', '#server-to-user-7');
        $this->broadcast('#server-to-user-7', 'hello', 'you');
        self::assertSame('you', $client->event('hello', null, 20.0)['data']);
    }
}
