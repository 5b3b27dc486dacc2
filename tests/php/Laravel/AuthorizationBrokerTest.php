<?php

/**
 * /broadcasting/auth and /broadcasting/user-auth: routes/channels.php decides, the native authorizer signs.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

use PHPUnit\Framework\Attributes\DataProvider;

final class AuthorizationBrokerTest extends LaravelTestCase
{
    protected function setUp(): void
    {
        parent::setUp();
        $this->migrate();
    }

    /** @dataProvider prefixes */
    #[DataProvider('prefixes')]
    public function testOnePermissionCoversEveryPrefix(string $channel): void
    {
        self::assertSame(
            [200, ['auth' => $this->signed("123.456:$channel")]],
            $this->auth(['socket_id' => '123.456', 'channel_name' => $channel])
        );
    }

    /** @return array<string, array{string}> */
    public static function prefixes(): array
    {
        return ['private' => ['private-user.1'], 'private and cached' => ['private-cache-user.1']];
    }

    public function testAnEncryptedChannelGetsItsKey(): void
    {
        $master = random_bytes(32);
        $this->addEnv(['REALTIME_ENCRYPTION_MASTER_KEY' => base64_encode($master)]);
        [$status, $answer] = $this->auth(['socket_id' => '123.456', 'channel_name' => 'private-encrypted-user.1']);
        self::assertSame(200, $status);
        self::assertSame(base64_encode(hash('sha256', "private-encrypted-user.1$master", true)), $answer['shared_secret']);
    }

    public function testAPresenceChannelSignsTheUser(): void
    {
        [$status, $answer] = $this->auth(['socket_id' => '123.456', 'channel_name' => 'presence-shop']);
        self::assertSame(200, $status);
        self::assertSame(
            ['user_id' => '1', 'user_info' => ['name' => 'An']],
            json_decode($answer['channel_data'], true)
        );
        self::assertSame($this->signed("123.456:presence-shop:{$answer['channel_data']}"), $answer['auth']);
    }

    /**
     * @param array<string, mixed> $input
     *
     * @dataProvider refusals
     */
    #[DataProvider('refusals')]
    public function testDeniedSubscriptionsAreNotSigned(array $input, ?int $user = 1): void
    {
        [$status, $answer] = $this->auth($input, $user);
        self::assertSame(403, $status);
        self::assertArrayNotHasKey('auth', (array) $answer);
    }

    /** @return array<string, array{0: array<string, mixed>, 1?: int|null}> */
    public static function refusals(): array
    {
        $private = 'private-user.1';

        return [
            'another user' => [['socket_id' => '1.2', 'channel_name' => 'private-user.2']],
            'no user' => [['socket_id' => '1.2', 'channel_name' => $private], null],
            'an unknown channel' => [['socket_id' => '1.2', 'channel_name' => 'private-unknown.1']],
            'a public channel' => [['socket_id' => '1.2', 'channel_name' => 'user.1']],
            'no channel' => [['socket_id' => '1.2']],
            'a prefix alone' => [['socket_id' => '1.2', 'channel_name' => 'private-']],
            'a list' => [['socket_id' => '1.2', 'channel_name' => [$private]]],
            'no socket' => [['channel_name' => $private]],
            'a list of sockets' => [['socket_id' => ['1.2'], 'channel_name' => $private]],
            // Signed as it is, this would be the signature of a member of presence-room.
            'a forged member' => [['socket_id' => '1.2:presence-room', 'channel_name' => 'presence-shop']],
            'a newline behind' => [['socket_id' => "1.2\n", 'channel_name' => $private]],
            'a channel that cannot be' => [['socket_id' => '1.2', 'channel_name' => 'private-user.1:x']],
        ];
    }

    public function testAConnectionMayHaveItsOwnKeys(): void
    {
        $secret = strrev(self::SECRET);
        $this->write('config/broadcasting.php', <<<PHP
            <?php

            return ['default' => 'mine', 'connections' => [
                'mine' => ['driver' => 'kafka', 'app_id' => '2', 'key' => 'k2', 'secret' => '$secret'],
            ]];
            PHP);
        self::assertSame(
            [200, ['auth' => 'k2:' . hash_hmac('sha256', '1.2:private-user.1', $secret)]],
            $this->auth(['socket_id' => '1.2', 'channel_name' => 'private-user.1'])
        );
    }

    public function testTheUserIsSigned(): void
    {
        $answer = $this->userAuth("['id' => \$request->user()->id, 'name' => 'An']");
        self::assertSame('{"id":"1","name":"An"}', $answer['user_data']);
        self::assertSame($this->signed('1.2::user::{"id":"1","name":"An"}'), $answer['auth']);
        self::assertNull($this->userAuth('null'), 'Nobody is signed in.');
        self::assertSame(403, $this->userAuth("['id' => 1]", '1.2::user::x'));
    }

    private function userAuth(string $user, string $socket = '1.2'): mixed
    {
        return $this->inApp(<<<PHP
            Illuminate\Support\Facades\Broadcast::resolveAuthenticatedUserUsing(fn (\$request) => $user);
            \$request = Illuminate\Http\Request::create('/broadcasting/user-auth', 'POST', ['socket_id' => '$socket']);
            \$request->setUserResolver(fn () => App\Models\User::find(1));
            try {
                return Illuminate\Support\Facades\Broadcast::driver()->resolveAuthenticatedUser(\$request);
            } catch (Symfony\Component\HttpKernel\Exception\HttpException \$e) {
                return \$e->getStatusCode();
            }
            PHP);
    }

    /**
     * @param array<string, mixed> $input
     *
     * @return array{int, mixed}
     */
    private function auth(array $input, ?int $user = 1): array
    {
        return $this->request('POST', '/broadcasting/auth', $input, $user);
    }

    private function signed(string $text): string
    {
        return 'key:' . hash_hmac('sha256', $text, self::SECRET);
    }
}
