<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Realtime;

/**
 * The configuration as the extension resolves it, and what it refuses. Unknown settings are left out one by one, so
 * that all of them are named and the rest can be looked at.
 */
final class Configuration
{
    private const UNKNOWN = "/\AUnknown setting '(?<key>[^']+)' in (?<place>.+?)\. (?<hint>Did you mean '[^']+'\?)?/s";
    private const MAX_UNKNOWN = 30;

    /** @var array<string, mixed>|null of Admin::configuration(); null: not known */
    public readonly ?array $settings;
    /** @var list<Finding> */
    public readonly array $refused;
    /** Why the settings are not known. */
    public readonly string $why;

    /**
     * @param array<string, mixed> $config the `realtime` configuration
     * @param string|null $broker null: the default broker
     */
    public function __construct(array $config, ?string $broker)
    {
        $settings = null;
        $refused = [];
        $own = $broker === null ? [] : ['broker' => $broker];
        $isLoaded = extension_loaded('toporia_realtime');
        $isReadable = $isLoaded && method_exists(Admin::class, 'probe');
        $this->why = $isReadable ? 'the configuration is rejected'
            : 'the extension is ' . ($isLoaded ? 'older than the PHP layer' : 'not loaded');
        while ($isReadable && $settings === null && count($refused) < self::MAX_UNKNOWN) {
            try {
                Realtime::configure($config);
                $settings = (new Admin($own))->configuration();
            } catch (ConfigurationException $e) {
                $without = preg_match(self::UNKNOWN, $e->getMessage(), $match) === 1
                    ? self::without($config, $match['place'], stripslashes($match['key'])) : null;
                if ($without === null) {
                    $refused[] = Finding::error(
                        'settings',
                        $e->getMessage(),
                        'Correct this setting. Until then every broadcast and every worker fails with this message.'
                    );
                    break;
                }
                $config = $without;
                $hint = ($match['hint'] ?? '') !== '' ? $match['hint'] . ' Rename it, or remove it.'
                    : 'Remove it; the settings are listed in docs/configuration.md and config/realtime.php.';
                $refused[] = Finding::error(
                    'settings',
                    "unknown setting '{$match['key']}' in {$match['place']}",
                    "$hint Until then the configuration is rejected as a whole; what follows is looked at without this setting."
                );
            }
        }
        $this->settings = $settings;
        $this->refused = $refused;
    }

    /** True if these findings already contain an error of the configuration. */
    public function reports(string $message): bool
    {
        return $this->refused !== [] && preg_match(self::UNKNOWN, $message) === 1
            || in_array($message, array_map(static fn (Finding $finding): string => $finding->text, $this->refused), true);
    }

    /**
     * The names of the configured brokers; `kafka` if the configuration has a single unnamed one.
     *
     * @param array<mixed> $config
     *
     * @return list<string>
     */
    public static function brokers(array $config): array
    {
        $brokers = is_array($config['brokers'] ?? null) ? $config['brokers'] : [];
        $isNamed = array_filter($brokers, 'is_array') !== [] || !array_is_list($brokers);

        return $isNamed ? array_map('strval', array_keys($brokers)) : ['kafka'];
    }

    /**
     * The configuration without one key; null if the key is not found.
     *
     * @param array<mixed> $config
     *
     * @return array<mixed>|null
     */
    private static function without(array $config, string $place, string $key): ?array
    {
        $path = $place === 'the realtime configuration' ? [] : explode('.', $place);
        if ($path !== [] && array_shift($path) !== 'realtime') {
            return null;
        }
        $at = &$config;
        foreach ($path as $step) {
            if (!is_array($at[$step] ?? null)) {
                return null;
            }
            $at = &$at[$step];
        }
        if (!array_key_exists($key, $at)) {
            return null;
        }
        unset($at[$key]);

        return $config;
    }
}
