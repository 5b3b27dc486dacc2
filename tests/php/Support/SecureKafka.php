<?php

/**
 * The Kafka with TLS, SASL and ACLs: one for all tests of a run, stopped at its end.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use RuntimeException;

/**
 * Its listeners and users are described in tests/support/kafka/secure.sh. REALTIME_TEST_SECURE names a running node
 * (`tests/support/kafka.sh start --secure --name=NAME`), for work on these tests.
 */
final class SecureKafka
{
    private static ?self $shared = null;

    /**
     * @param array<string, string> $about addresses of listeners, paths of certificates
     */
    private function __construct(private string $name, private array $about)
    {
    }

    public static function shared(): self
    {
        return self::$shared ??= self::start();
    }

    /**
     * The address of a listener (`sasl_ssl`, `expired`, …), or the path of a certificate (`ca`, `other_ca`).
     */
    public function of(string $name): string
    {
        return $this->about[$name] ?? throw new RuntimeException("The secure Kafka has no '$name'.");
    }

    /**
     * Settings for a listener, as the user shop.
     *
     * @return array{brokers: string, security: array<string, string>}
     */
    public function settings(string $listener = 'sasl_ssl', string $mechanism = 'SCRAM-SHA-512', string $user = 'shop'): array
    {
        $protocol = in_array($listener, ['sasl_ssl', 'sasl_plaintext'], true) ? $listener : 'ssl';
        $security = ['protocol' => $protocol];
        if ($protocol !== 'ssl') {
            $security += ['mechanism' => $mechanism, 'username' => $user, 'password' => "$user-password"];
        }

        if ($listener === 'mutual') {
            $security += ['certificate' => $this->of('certificate'), 'key' => $this->of('key')];
        }

        return ['brokers' => $this->of($listener), 'security' => $security + ['ca' => $this->of('ca')]];
    }

    /**
     * The same as environment variables.
     *
     * @return array<string, string>
     */
    public function environment(string $listener = 'sasl_ssl', string $mechanism = 'SCRAM-SHA-512'): array
    {
        ['brokers' => $brokers, 'security' => $security] = $this->settings($listener, $mechanism);

        return array_filter([
            'KAFKA_BROKERS' => $brokers,
            'KAFKA_SECURITY_PROTOCOL' => strtoupper($security['protocol']),
            'KAFKA_SASL_MECHANISM' => $security['mechanism'] ?? '',
            'KAFKA_SASL_USERNAME' => $security['username'] ?? '',
            'KAFKA_SASL_PASSWORD' => $security['password'] ?? '',
            'KAFKA_SSL_CA_LOCATION' => $security['ca'],
            'KAFKA_SSL_CERTIFICATE_LOCATION' => $security['certificate'] ?? '',
            'KAFKA_SSL_KEY_LOCATION' => $security['key'] ?? '',
        ], static fn (string $value): bool => $value !== '');
    }

    /**
     * Adds ACLs: arguments of Kafka's AclCommand.
     */
    public function acl(string ...$arguments): void
    {
        self::script(['acl', "--name=$this->name", '--add', ...$arguments]);
    }

    private static function start(): self
    {
        $name = getenv('REALTIME_TEST_SECURE') ?: '';
        if ($name === '') {
            $name = 'secure-' . getmypid();
            self::script(['start', '--secure', "--name=$name", '--owner=' . getmypid()]);
            $self = getmypid();
            register_shutdown_function(static function () use ($name, $self): void {
                // A forked child exits too, and must not stop the node of its parent.
                if (getmypid() === $self) {
                    self::script(['stop', "--name=$name"]);
                }
            });
        }
        $about = [];
        foreach (explode("\n", trim(self::script(['secure', "--name=$name"]))) as $line) {
            [$key, $value] = explode('=', $line, 2);
            $about[$key] = $value;
        }

        return new self($name, $about);
    }

    /** @param list<string> $arguments of kafka.sh */
    private static function script(array $arguments): string
    {
        $command = [dirname(__DIR__, 2) . '/support/kafka.sh', ...$arguments];
        $result = (new ChildProcess($command, getenv()))->wait(180.0);
        if ($result->exitCode !== 0) {
            throw new RuntimeException('kafka.sh ' . implode(' ', $arguments) . ' failed: ' . $result->describe());
        }

        return $result->stdout;
    }
}
