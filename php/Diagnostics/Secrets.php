<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Support\Environment;

/**
 * Removes passwords and keys from the doctor's output. No check prints secrets itself; this covers error messages of
 * databases and libraries that quote them.
 */
final class Secrets
{
    /** Names of settings that hold secrets, at any level. */
    private const NAMES = '/password|passphrase|secret|encryption_master_key|key_password|ssl\.key\.pem|jaas/i';
    private const VARIABLES = [
        'KAFKA_SASL_PASSWORD', 'KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET', 'KAFKA_SSL_KEY_PASSWORD', 'REALTIME_APP_SECRET',
        'REALTIME_ENCRYPTION_MASTER_KEY', 'REALTIME_OUTBOX_PASSWORD',
    ];
    /** Shorter values would redact ordinary words. */
    private const MIN_LENGTH = 4;

    /** @var list<string> longest first */
    private array $values;

    /** @param array<mixed> $config the whole `realtime` configuration */
    public function __construct(array $config)
    {
        $values = self::collect($config);
        foreach (self::VARIABLES as $name) {
            $values[] = (string) Environment::get($name);
        }
        $outbox = is_array($config['outbox'] ?? null) ? $config['outbox'] : [];
        foreach ([$outbox['dsn'] ?? null, Environment::get('REALTIME_OUTBOX_DSN')] as $dsn) {
            if (is_string($dsn) && preg_match('/(?:password|pwd)=([^;]+)/i', $dsn, $match) === 1) {
                $values[] = $match[1];
            }
        }
        $all = [];
        foreach ($values as $value) {
            // A variable may contain a list of secrets; libraries may also quote them encoded.
            foreach ([$value, ...explode(',', $value)] as $one) {
                array_push($all, $one, base64_encode($one), rawurlencode($one));
            }
        }
        $all = array_unique(array_filter($all, static fn (string $one): bool => strlen($one) >= self::MIN_LENGTH));
        usort($all, static fn (string $a, string $b): int => strlen($b) <=> strlen($a));
        $this->values = $all;
    }

    public function redact(string $text): string
    {
        return str_replace($this->values, '***', $text);
    }

    public function redactFinding(Finding $finding): Finding
    {
        $facts = $finding->facts;
        array_walk_recursive($facts, function (mixed &$value): void {
            $value = is_string($value) ? $this->redact($value) : $value;
        });

        return new Finding(
            $finding->level,
            $this->redact($finding->subject),
            $this->redact($finding->text),
            $finding->remedy === null ? null : $this->redact($finding->remedy),
            $facts
        );
    }

    /** True if the content contains one of the secrets. */
    public function appearIn(string $content): bool
    {
        foreach ($this->values as $value) {
            if (str_contains($content, $value)) {
                return true;
            }
        }

        return false;
    }

    /**
     * @param array<mixed> $config
     *
     * @return list<string>
     */
    private static function collect(array $config, bool $secret = false): array
    {
        $values = [];
        foreach ($config as $name => $value) {
            $named = $secret || is_string($name) && preg_match(self::NAMES, $name) === 1;
            if (is_array($value)) {
                array_push($values, ...self::collect($value, $named));
            } elseif ($named && is_scalar($value)) {
                $values[] = (string) $value;
            }
        }

        return $values;
    }
}
