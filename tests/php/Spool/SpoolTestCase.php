<?php

/**
 * Base of the spool tests: a spool, and a broker that starts later on a port without a listener before.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Spool;

use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Message;
use Toporia\Realtime\Tests\Producing\ProducingTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\ProcessResult;

abstract class SpoolTestCase extends ProducingTestCase
{
    /** Keeps a process alive until its spool is empty. */
    protected const DRAIN = <<<'PHP'
        function drain(): void
        {
            for ($i = 0; Realtime::stats()['spool_bytes'] > 0 && $i < 1000; $i++) {
                usleep(10_000);
            }
            echo Realtime::stats()['spool_bytes'] === 0 ? "drained\n" : "not drained\n";
        }
        PHP;

    protected string $spool;
    private int $port;
    private ?EmbeddedBroker $late = null;

    protected function setUp(): void
    {
        parent::setUp();
        $this->spool = $this->directory();
        $this->port = self::freePort();
    }

    protected function tearDown(): void
    {
        $this->late?->stop();
        $this->late = null;
        parent::tearDown();
    }

    /** @param array<string, string> $env @param array<string, string> $ini */
    protected function spooling(string $code, array $env = [], array $ini = []): ProcessResult
    {
        return $this->runPhp(str_replace('RAW', $this->topic(), $code), $this->options($env, $ini));
    }

    /**
     * @param array<string, string> $env
     * @param array<string, string> $ini
     *
     * @return array<string, mixed>
     */
    protected function options(array $env = [], array $ini = []): array
    {
        $env += ['KAFKA_BROKERS' => "127.0.0.1:$this->port", 'REALTIME_SPOOL' => $this->spool];

        return ['env' => $env, 'ini' => $ini + ['toporia_realtime.shutdown_flush_ms' => '300']];
    }

    /**
     * Starts a process that may write no file larger than 64 KB, broadcasts 300 messages of 1 KB, and prints their ids.
     *
     * @param array<string, mixed> $options see options()
     * @param string $then PHP code that runs after the last message
     */
    protected function startWithFileSizeLimit(array $options, string $then = ''): ChildProcess
    {
        $code = $this->directory() . '/code.php';
        $autoload = var_export(self::root() . '/php/autoload.php', true);
        file_put_contents($code, "<?php require $autoload;" . <<<'PHP'
            for ($i = 0; $i < 300; $i++) {
                echo Toporia\Realtime\Realtime::broadcast('user.1', 'e', str_repeat('x', 1000)), "\n";
            }
            PHP . $then);
        $script = $this->directory() . '/limited.sh';
        // The signal that comes with such a limit is ignored.
        file_put_contents($script, "trap '' XFSZ; ulimit -f 64; exec \"\$@\"\n");
        $command = ['bash', $script, PHP_BINARY, '-d', 'extension=' . self::extension()];
        foreach ($options['ini'] as $name => $value) {
            array_push($command, '-d', "$name=$value");
        }

        return $this->start([...$command, $code], $options['env'] + $this->childEnvironment() + getenv());
    }

    protected function startLate(): EmbeddedBroker
    {
        return $this->late = EmbeddedBroker::start($this->port);
    }

    /** @return list<string> */
    protected function spoolFiles(): array
    {
        return glob("$this->spool/*/*.spool") ?: [];
    }

    /** @return list<Message> */
    protected function received(string $topic, int $atLeast): array
    {
        $messages = [];
        $broker = $this->broker(['brokers' => "127.0.0.1:$this->port", 'consumer_group' => bin2hex(random_bytes(4))]);
        $broker->subscribeTopic($topic, static function (Message $message) use (&$messages): void {
            $messages[] = $message;
        });
        for ($i = 0; $i < 20 && count($messages) < $atLeast; $i++) {
            $broker->consume(200, 1000, 0, true);
        }
        $broker->close();

        return $messages;
    }
}
