<?php

/**
 * The settings that the doctor needs, resolved like the extension does.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Diagnostics\Wire\Security;
use Toporia\Realtime\Support\Environment;
use Toporia\Realtime\Security\TokenSources;

/**
 * Order: the broker's own array, the top level of the configuration, INI settings, environment, default; an empty
 * string counts as unset. Implemented in PHP, because it is needed without the extension too, and the extension does
 * not expose passwords.
 */
final class Settings
{
    /** Setting → [aliases, librdkafka property, environment variable, true if it is an INI setting]. */
    private const PLACES = [
        'brokers' => [[], 'bootstrap.servers', 'KAFKA_BROKERS', true],
        'topic_prefix' => [[], null, 'KAFKA_TOPIC_PREFIX', true],
        'consumer_group' => [[], 'group.id', 'KAFKA_CONSUMER_GROUP', true],
        'topic_strategy' => [[], null, 'KAFKA_TOPIC_STRATEGY', false],
        'default_topic' => [[], null, 'KAFKA_DEFAULT_TOPIC', false],
        'default_partitions' => [[], null, 'KAFKA_DEFAULT_PARTITIONS', false],
        'acks' => [[], 'acks', null, false],
        'idempotence' => [[], 'enable.idempotence', null, false],
        'transactional_id' => [[], 'transactional.id', null, false],
        'spool' => [[], null, 'REALTIME_SPOOL', true],
        'spool_when' => [[], null, 'REALTIME_SPOOL_WHEN', true],
        'metrics' => [[], null, 'REALTIME_METRICS', true],
        'metrics_textfile' => [[], null, 'REALTIME_METRICS_TEXTFILE', true],
        'heartbeat_file' => [[], null, 'REALTIME_HEARTBEAT_FILE', true],
        'dlq' => [['dlq_enabled'], null, null, false],
        'dlq_prefix' => [['dlq_topic_prefix'], null, null, false],
    ];
    private const SECURITY = [
        'protocol' => ['security.protocol', 'KAFKA_SECURITY_PROTOCOL'],
        'mechanism' => ['sasl.mechanism', 'KAFKA_SASL_MECHANISM'],
        'username' => ['sasl.username', 'KAFKA_SASL_USERNAME'],
        'password' => ['sasl.password', 'KAFKA_SASL_PASSWORD'],
        'ca' => ['ssl.ca.location', 'KAFKA_SSL_CA_LOCATION'],
        'certificate' => ['ssl.certificate.location', 'KAFKA_SSL_CERTIFICATE_LOCATION'],
        'key' => ['ssl.key.location', 'KAFKA_SSL_KEY_LOCATION'],
        'key_password' => ['ssl.key.password', 'KAFKA_SSL_KEY_PASSWORD'],
        'verify' => ['enable.ssl.certificate.verification', null],
        'token_endpoint' => ['sasl.oauthbearer.token.endpoint.url', 'KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT'],
        'client_id' => ['sasl.oauthbearer.client.id', 'KAFKA_SASL_OAUTHBEARER_CLIENT_ID'],
        'client_secret' => ['sasl.oauthbearer.client.secret', 'KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET'],
        'scope' => ['sasl.oauthbearer.scope', 'KAFKA_SASL_OAUTHBEARER_SCOPE'],
        'extensions' => ['sasl.oauthbearer.extensions', 'KAFKA_SASL_OAUTHBEARER_EXTENSIONS'],
        'region' => ['toporia.token.region', 'AWS_REGION'],
    ];

    /** The name of the broker in the configuration. */
    public readonly string $name;
    /** @var list<array<mixed>> the broker's array, if any, then the top level */
    private array $layers;

    /**
     * @param array<mixed> $config the `realtime` configuration
     * @param string|null $broker null: the default broker
     */
    public function __construct(array $config, ?string $broker = null)
    {
        $config = Environment::withoutComments($config);
        $named = self::named($config['brokers'] ?? null);
        $default = self::set($config['default_broker'] ?? null) ?? Environment::get('REALTIME_BROKER') ?? 'kafka';
        $name = $broker ?? (is_scalar($default) ? (string) $default : 'kafka');
        if ($broker === null && !isset($named[$name]) && count($named) === 1) {
            $name = (string) array_key_first($named);
        }
        $this->name = $name;
        if ($named !== []) {
            unset($config['brokers']);
        }
        $own = $named[$name] ?? [];
        $this->layers = [is_array($own) ? $own : [], $config];
    }

    /**
     * The names of the configured brokers; empty if the configuration has a single unnamed one.
     *
     * @param array<mixed> $config
     *
     * @return list<string>
     */
    public static function names(array $config): array
    {
        return array_map('strval', array_keys(self::named($config['brokers'] ?? null)));
    }

    /**
     * A setting as written in the configuration; null if not set.
     */
    public function get(string $key): mixed
    {
        [$aliases, $property, $variable, $ini] = self::PLACES[$key] ?? [[], null, null, false];
        foreach ($this->layers as $layer) {
            foreach ([$key, ...$aliases] as $name) {
                $value = self::set($layer[$name] ?? null);
                if ($value !== null && $value !== []) {
                    return $value;
                }
            }
            $value = $property === null ? null : $this->property($layer, $property);
            if ($value !== null) {
                return $value;
            }
        }
        $value = $ini ? self::set(ini_get("toporia_realtime.$key") ?: null) : null;

        return $value ?? ($variable === null ? null : Environment::get($variable));
    }

    public function text(string $key, string $default): string
    {
        $value = $this->get($key);

        return is_scalar($value) ? trim(is_bool($value) ? var_export($value, true) : (string) $value) : $default;
    }

    public function flag(string $key, bool $default): bool
    {
        $value = $this->get($key);

        return $value === null ? $default : filter_var($value, FILTER_VALIDATE_BOOL);
    }

    /** @return list<string> addresses as written */
    public function addresses(): array
    {
        $value = $this->get('brokers') ?? 'localhost:9092';
        $all = [];
        foreach (is_array($value) ? $value : [$value] as $one) {
            array_push($all, ...(is_scalar($one) ? explode(',', (string) $one) : []));
        }

        return array_values(array_unique(array_filter(array_map('trim', $all), static fn ($one) => $one !== '')));
    }

    public function isEmbedded(): bool
    {
        return $this->addresses() === ['embedded'];
    }

    public function prefix(): string
    {
        return $this->text('topic_prefix', 'realtime');
    }

    public function group(): string
    {
        return $this->text('consumer_group', 'realtime-servers');
    }

    /**
     * The directory of the spool; null without one.
     *
     * @param string $root of the application, for a relative path
     */
    /** `group.protocol` of the consumers. */
    public function groupProtocol(): string
    {
        return strtolower($this->anyProperty('group.protocol') ?? 'classic');
    }

    public function spool(string $root): ?string
    {
        $spool = $this->get('spool');
        $spool = is_string($spool) ? trim($spool) : '';
        if ($spool === '' || in_array(strtolower($spool), ['off', 'false', 'always'], true)) {
            return null;
        }

        return str_starts_with($spool, '/') ? rtrim($spool, '/') : "$root/$spool";
    }

    public function security(): Security
    {
        $find = fn (string $member): ?string => $this->securityMember($member);
        $protocol = strtolower($find('protocol') ?? 'plaintext');
        $flag = static fn (?string $value): bool => filter_var($value ?? 'true', FILTER_VALIDATE_BOOL);

        $token = $this->token();

        return new Security(
            $protocol,
            strtoupper($find('mechanism') ?? ($token === null || $find('username') !== null ? 'PLAIN' : 'OAUTHBEARER')),
            $find('username'),
            $find('password'),
            $find('ca'),
            $find('certificate'),
            $find('key'),
            $find('key_password'),
            $flag($find('verify')),
            ($this->anyProperty('ssl.endpoint.identification.algorithm') ?? 'https') === 'https',
            $token
        );
    }

    /**
     * Returns a token of `security.token`; null: none is configured.
     *
     * @return (\Closure(): string)|null
     */
    private function token(): ?\Closure
    {
        $source = null;
        foreach ($this->layers as $layer) {
            $source ??= is_array($layer['security'] ?? null) ? self::set($layer['security']['token'] ?? null) : null;
        }
        $source ??= Environment::get('KAFKA_SASL_OAUTHBEARER_TOKEN');
        $settings = [];
        foreach (['token_endpoint', 'client_id', 'client_secret', 'scope', 'extensions', 'region'] as $name) {
            $settings[$name] = $this->securityMember($name);
        }
        $settings = array_filter($settings, is_string(...));
        $isOidc = isset($settings['token_endpoint']) || $this->anyProperty('sasl.oauthbearer.method') === 'oidc';
        $source ??= $isOidc ? 'oidc' : null;

        return $source === null ? null : static fn (): string => TokenSources::text($source, $settings);
    }

    private function securityMember(string $member): ?string
    {
        [$property, $variable] = self::SECURITY[$member];
        foreach ($this->layers as $layer) {
            $value = self::set(is_array($layer['security'] ?? null) ? $layer['security'][$member] ?? null : null);
            if (is_scalar($value)) {
                return is_bool($value) ? var_export($value, true) : (string) $value;
            }
        }

        return $this->anyProperty($property) ?? ($variable === null ? null : Environment::get($variable));
    }

    private function anyProperty(string $property): ?string
    {
        foreach ($this->layers as $layer) {
            $value = $this->property($layer, $property);
            if (is_scalar($value)) {
                return is_bool($value) ? var_export($value, true) : (string) $value;
            }
        }

        return null;
    }

    /** @param array<mixed> $layer */
    private function property(array $layer, string $property): mixed
    {
        foreach (['consumer_config', 'producer_config'] as $client) {
            $properties = is_array($layer[$client] ?? null) ? $layer[$client] : [];
            foreach ($property === 'sasl.mechanism' ? [$property, 'sasl.mechanisms'] : [$property] as $name) {
                if (self::set($properties[$name] ?? null) !== null) {
                    return $properties[$name];
                }
            }
        }

        return null;
    }

    /**
     * The named brokers; empty if `brokers` contains addresses.
     *
     * @return array<mixed>
     */
    private static function named(mixed $brokers): array
    {
        if (!is_array($brokers)) {
            return [];
        }
        foreach ($brokers as $key => $value) {
            if (is_string($key) || is_array($value)) {
                return $brokers;
            }
        }

        return [];
    }

    private static function set(mixed $value): mixed
    {
        return is_string($value) && trim($value) === '' ? null : $value;
    }
}
