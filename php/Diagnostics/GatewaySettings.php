<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Support\Environment;

/** The gateway's settings, resolved like the extension does. */
final class GatewaySettings
{
    private const VARIABLES = [
        'host' => 'REALTIME_GATEWAY_HOST', 'port' => 'REALTIME_GATEWAY_PORT', 'app_id' => 'REALTIME_APP_ID',
        'key' => 'REALTIME_APP_KEY', 'secrets' => 'REALTIME_APP_SECRET', 'allowed_origins' => 'REALTIME_ALLOWED_ORIGINS',
        'trusted_proxies' => 'REALTIME_TRUSTED_PROXIES', 'api_listen' => 'REALTIME_API_LISTEN',
        'ops_listen' => 'REALTIME_OPS_LISTEN', 'public_channels' => 'REALTIME_PUBLIC_CHANNELS',
        'webhook_urls' => 'REALTIME_WEBHOOK_URLS',
    ];

    /** @var array<mixed> */
    private array $own;

    /** @param array<mixed> $config the `realtime` configuration */
    public function __construct(array $config)
    {
        $this->own = is_array($config['gateway'] ?? null) ? Environment::withoutComments($config['gateway']) : [];
    }

    /** True if a gateway, or signing for one, is configured. */
    public function isConfigured(): bool
    {
        foreach (['app_id', 'key', 'secrets'] as $key) {
            if ($this->texts($key) !== []) {
                return true;
            }
        }

        return false;
    }

    public function text(string $key, string $default): string
    {
        return $this->texts($key)[0] ?? $default;
    }

    /**
     * A list, or the comma-separated parts of a string.
     *
     * @return list<string>
     */
    public function texts(string $key): array
    {
        $value = $this->own[$key] ?? null;
        if ($key === 'secrets') {
            $value ??= $this->own['secret'] ?? null;
        }
        if ($value === false) {
            return ['off'];
        }
        if ($value === null || $value === '' || $value === []) {
            $value = Environment::get(self::VARIABLES[$key] ?? $key);
        }
        $all = [];
        foreach (is_array($value) ? $value : explode(',', is_scalar($value) ? (string) $value : '') as $one) {
            $all[] = trim(is_scalar($one) ? (string) $one : '');
        }

        return array_values(array_filter($all, static fn (string $one): bool => $one !== ''));
    }

    public function host(): string
    {
        return $this->text('host', '127.0.0.1');
    }

    public function port(): int
    {
        return (int) $this->text('port', '6001');
    }

    /** `host:port`, or null if disabled. */
    public function ops(): ?string
    {
        $listen = $this->text('ops_listen', '127.0.0.1:6900');

        return in_array(strtolower($listen), ['off', 'false'], true) ? null : $listen;
    }

    /** True if the address can only be reached from this machine. */
    public static function isLoopback(string $host): bool
    {
        $host = trim($host, '[]');

        return $host === 'localhost' || $host === '::1' || str_starts_with($host, '127.');
    }
}
