<?php

/**
 * Lets code written for Toporia run where Toporia is not, and steps aside where it is.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Polyfill;

use Toporia\Realtime\Toporia\DropIn;

/**
 * Classes come from an autoloader behind all others, so that a real one always wins. Functions cannot be loaded on
 * demand, and frameworks define theirs after Composer's files with `function_exists()` guards, so that ours would win
 * and bypass their containers: they are defined only where no framework can be autoloaded.
 *
 * `REALTIME_POLYFILLS=off` in the environment keeps the functions away altogether.
 */
final class Polyfill
{
    /** Frameworks that bring config(), env() or logger() themselves, the likeliest first. */
    private const FRAMEWORKS = [
        'Toporia\Framework\Realtime\RealtimeManager',
        'Illuminate\Foundation\Application',
        'CodeIgniter\CodeIgniter',
        'think\App',
        'Hyperf\Contract\ConfigInterface',
        'Cake\Core\Configure',
    ];

    private const CLASSES = [
        'Toporia\Framework\Console\Command' => 'Command',
        'Toporia\Framework\Realtime\Contracts\BrokerInterface' => 'BrokerInterface',
        'Toporia\Framework\Realtime\Contracts\MessageInterface' => 'MessageInterface',
        'Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface' => 'RealtimeManagerInterface',
        'Toporia\Framework\Realtime\Message' => 'Message',
    ];

    private static bool $registered = false;

    /**
     * Called once, by bootstrap.php.
     */
    public static function register(): void
    {
        if (self::$registered) {
            return;
        }
        self::$registered = true;
        spl_autoload_register(self::load(...));
        spl_autoload_register(DropIn::load(...), true, true);
        if (getenv('REALTIME_POLYFILLS') !== 'off' && self::framework() === null) {
            require __DIR__ . '/helpers.php';
        }
    }

    /**
     * The framework whose classes can be autoloaded here: the name of one of them, or null.
     */
    public static function framework(): ?string
    {
        foreach (self::FRAMEWORKS as $class) {
            if (class_exists($class) || interface_exists($class, false)) {
                return $class;
            }
        }

        return null;
    }

    private static function load(string $class): void
    {
        if (isset(self::CLASSES[$class])) {
            require __DIR__ . '/classes/' . self::CLASSES[$class] . '.php';
        }
    }
}
