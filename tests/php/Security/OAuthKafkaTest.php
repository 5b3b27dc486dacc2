<?php

/**
 * SASL OAUTHBEARER: tokens from a callable, by OIDC client credentials and signed by JWT, refreshed in time.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Security;

use Closure;
use RuntimeException;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class OAuthKafkaTest extends SecureTestCase
{
    private ?ChildProcess $endpoint = null;

    protected function tearDown(): void
    {
        $this->endpoint?->destroy();
        parent::tearDown();
    }

    public function testACallableServesEveryClient(): void
    {
        $calls = 0;
        $config = $this->oauth('oauth', static function () use (&$calls): array {
            $calls++;

            return ['token' => self::unsecured(), 'expires_at' => time() + 60, 'principal' => 'shop'];
        });
        Realtime::configure($config);
        $id = Realtime::broadcast('user.1', 'paid');
        Realtime::flush();
        self::assertSame([$id], $this->received($config));
        $admin = new Admin($config);
        self::assertSame([$this->channelTopic('user.1')], array_keys($admin->topics("{$this->prefix}_**")));
        $admin->close();
        self::assertSame(1, $calls, 'one token for all clients');
        self::assertSame(0, Realtime::stats()['queued']);
    }

    public function testATokenIsTheTextOfAJwt(): void
    {
        $config = $this->oauth('oauth_jwt', static fn (): string => self::signed());
        Realtime::configure($config);
        $id = Realtime::broadcast('user.1', 'paid');
        Realtime::flush();
        self::assertSame([$id], $this->received($config));
    }

    /**
     * The tokens live for 15 seconds, the first callback runs for 20.
     */
    public function testATokenIsRefreshedWhileACallbackRuns(): void
    {
        $code = <<<'PHP'
            [, $brokers, $file] = $argv;
            $token = function () use ($file) {
                $text = fn (array $part) => rtrim(strtr(base64_encode(json_encode($part)), '+/', '-_'), '=');
                file_put_contents($file, microtime(true) . "\n", FILE_APPEND);
                $claims = ['sub' => 'shop', 'iat' => time(), 'exp' => time() + 15];
                return ['token' => $text(['alg' => 'none']) . '.' . $text($claims) . '.', 'lifetime' => 15];
            };
            $security = ['protocol' => 'sasl_plaintext', 'token' => $token];
            Realtime::configure(['brokers' => $brokers, 'security' => $security]);
            Realtime::broadcast('user.1', 'first');
            Realtime::broadcast('user.1', 'second');
            Realtime::flush();
            $broker = Realtime::broker();
            $broker->subscribe('user.1', function (Message $message) use ($broker): void {
                $from = microtime(true);
                while ($message->getEvent() === 'first' && microtime(true) < $from + 20) {
                    usleep(1000);
                }
                Realtime::broadcast('user.2', $message->getEvent());
                Realtime::flush();
                printf("%s %.3f %.3f\n", $message->getEvent(), $from, microtime(true));
            });
            $broker->consume(maxMessages: 2);
            echo json_encode([Realtime::stats()['delivery_failures'], $broker->stats()['failures']]), "\n";
            PHP;
        $file = (string) tempnam(sys_get_temp_dir(), 'realtime-test-');
        $environment = array_fill_keys([
            'KAFKA_SECURITY_PROTOCOL', 'KAFKA_SASL_MECHANISM', 'KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD',
            'KAFKA_SSL_CA_LOCATION',
        ], null);
        $result = $this->runPhp(
            $code,
            ['args' => [self::kafka()->of('oauth'), $file], 'env' => $environment, 'timeout' => 60.0]
        )->assertExit();
        preg_match('/^first ([\d.]+) ([\d.]+)$/m', $result->stdout, $match);
        $calls = array_map('floatval', (array) file($file));
        unlink($file);
        $during = array_filter($calls, static fn (float $at): bool => $at > $match[1] && $at < (float) $match[1] + 20);
        self::assertGreaterThanOrEqual(1, count($during), $result->stdout . $result->stderr);
        self::assertMatchesRegularExpression('/^second /m', $result->stdout);
        self::assertStringEndsWith("[0,0]\n", $result->stdout);
    }

    public function testOidcClientCredentialsFromTheEnvironment(): void
    {
        $url = $this->endpoint();
        $environment = [
            'KAFKA_BROKERS' => self::kafka()->of('oauth_jwt'),
            'KAFKA_SECURITY_PROTOCOL' => 'sasl_plaintext',
            'KAFKA_SASL_MECHANISM' => 'OAUTHBEARER',
            'KAFKA_SASL_USERNAME' => null,
            'KAFKA_SASL_PASSWORD' => null,
            'KAFKA_SSL_CA_LOCATION' => null,
            'KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT' => $url,
            'KAFKA_SASL_OAUTHBEARER_CLIENT_ID' => 'shop',
            'KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET' => 'hush & hush',
            'KAFKA_SASL_OAUTHBEARER_SCOPE' => 'kafka',
        ];
        $send = 'Realtime::broadcast("user.1", "paid"); Realtime::flush(3000); echo "sent\n";';
        $result = $this->runPhp($send, ['env' => $environment])->assertExit();
        self::assertSame("sent\n", $result->stdout);
        $doctor = $this->runConsole(['realtime:doctor'], ['env' => $environment]);
        self::assertStringContainsString('OAUTHBEARER', $doctor->stdout);
        self::assertStringNotContainsString('rejects', $doctor->stdout . $doctor->stderr);

        $wrong = ['KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET' => 'wr0ng-one'] + $environment;
        $result = $this->runPhp($send, ['env' => $wrong]);
        self::assertStringContainsString('HTTP 401 and no access_token (invalid_client)', $result->stderr);
        self::assertStringNotContainsString('wr0ng-one', $result->stdout . $result->stderr);
    }

    public function testASourceThatFailsIsNamedAndAskedAgain(): void
    {
        $admin = new Admin($this->config());
        $admin->createTopic($this->channelTopic('user.1'));
        $admin->close();
        $away = true;
        $config = $this->oauth('oauth', static function () use (&$away): array {
            return $away ? throw new RuntimeException('the identity provider is away')
                : ['token' => self::unsecured(), 'lifetime' => 60];
        });
        Realtime::configure($config);
        Realtime::broadcast('user.1', 'paid');
        self::eventually(
            static fn (): bool => str_contains((string) Realtime::stats()['last_error'], 'provider is away'),
            'the producer names the reason'
        );
        $broker = $this->broker($config);
        $broker->subscribe('user.1', static function (): void {
        });
        $broker->onTick(static function () use ($broker): void {
            if (str_contains((string) $broker->stats()['last_error'], 'provider is away')) {
                $broker->stopConsuming();
            }
        }, 100);
        self::assertSame(0, $broker->consume(timeoutMs: 100));
        self::assertSame('stopped', $broker->stats()['stop_reason'], 'an outage of the provider does not end a worker');
        $away = false;
        Realtime::flush(20_000);
        self::assertSame(0, Realtime::stats()['queued']);
    }

    public function testATokenOfAnotherIssuerIsRefused(): void
    {
        $other = openssl_pkey_new(['private_key_bits' => 2048]);
        self::assertNotFalse($other);
        $broker = $this->broker($this->oauth('oauth_jwt', static fn (): string => self::signed($other)));
        $broker->subscribe('user.1', static function (): void {
        });
        $this->expectException(RealtimeException::class);
        $this->expectExceptionMessageMatches('/refuses consumer group.*invalid_token/s');
        $broker->consume();
    }

    public function testWhatIsNoSourceIsRefused(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage("'oidc' or 'aws-msk-iam'");
        new Broker($this->oauth('oauth', ['no', 'callable']));
    }

    /**
     * @param Closure|array<mixed> $token
     *
     * @return array<string, mixed>
     */
    private function oauth(string $listener, Closure|array $token): array
    {
        return $this->config([
            'brokers' => self::kafka()->of($listener),
            'security' => ['protocol' => 'sasl_plaintext', 'mechanism' => 'OAUTHBEARER', 'token' => $token],
        ]);
    }

    /**
     * The ids of the messages on user.1.
     *
     * @param array<string, mixed> $config
     *
     * @return list<string>
     */
    private function received(array $config): array
    {
        $ids = [];
        $broker = $this->broker($config);
        $broker->subscribe('user.1', static function (Message $message) use (&$ids): void {
            $ids[] = $message->getId();
        });
        $broker->consume(stopWhenEmpty: true);

        return $ids;
    }

    /** @param array<string, mixed> $part */
    private static function part(array $part): string
    {
        return self::text((string) json_encode($part));
    }

    private static function text(string $bytes): string
    {
        return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    }

    private static function unsecured(): string
    {
        return self::part(['alg' => 'none']) . '.'
            . self::part(['sub' => 'shop', 'iat' => time(), 'exp' => time() + 60]) . '.';
    }

    private static function signed(?\OpenSSLAsymmetricKey $key = null): string
    {
        $key ??= openssl_pkey_get_private((string) file_get_contents(self::kafka()->of('jwt_key')));
        $claims = ['sub' => 'shop', 'aud' => 'kafka', 'iat' => time(), 'exp' => time() + 60];
        $text = self::part(['alg' => 'RS256', 'kid' => 'test']) . '.' . self::part($claims);
        self::assertNotFalse($key);
        openssl_sign($text, $signature, $key, OPENSSL_ALGO_SHA256);

        return "$text." . self::text($signature);
    }

    /**
     * The token endpoint of an identity provider with one client, shop.
     */
    private function endpoint(): string
    {
        $file = sys_get_temp_dir() . "/realtime-test-$this->prefix.php";
        file_put_contents($file, '<?php $jwt = ' . var_export(self::signed(), true) . ';' . <<<'PHP'
            header('Content-Type: application/json');
            $known = urldecode($_SERVER['PHP_AUTH_USER'] ?? '') === 'shop'
                && urldecode($_SERVER['PHP_AUTH_PW'] ?? '') === 'hush & hush';
            $asked = $_POST === ['grant_type' => 'client_credentials', 'scope' => 'kafka'];
            http_response_code($known ? 200 : 401);
            echo json_encode($known && $asked ? ['access_token' => $jwt, 'token_type' => 'Bearer', 'expires_in' => 60]
                : ['error' => 'invalid_client']);
            PHP);
        $address = '127.0.0.1:' . self::freePort();
        $this->endpoint = new ChildProcess([PHP_BINARY, '-n', '-S', $address, $file], getenv());
        self::eventually(static fn (): bool => @fsockopen("tcp://$address") !== false, 'the endpoint listens');

        return "http://$address/token";
    }
}
