<?php

/**
 * The source of a setting: constructor, configure(), INI, PHP's view of the environment, defaults, in that order.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class ConfigurationOrderEmbeddedTest extends ProducingTestCase
{
    /**
     * The target topic of a message of this broker; there is no Kafka, so nothing is sent. A configuration without its
     * own array is resolved once per request, so brokers are created with a neutral one.
     */
    private const PRINT_TOPIC = <<<'PHP'
        function topicOf(?Broker $broker): string
        {
            $id = $broker ? $broker->publish('c', Message::event('c', 'e')) : Realtime::broadcast('c', 'e');
            try {
                Realtime::flush(1);
            } catch (Toporia\Realtime\Exception\DeliveryException $e) {
                return array_column($e->getFailed(), 'topic', 'id')[$id];
            }
            return 'delivered';
        }
        PHP;

    public function testABrokerIsTheSameObjectByItsNameAndAsTheDefault(): void
    {
        Realtime::configure(['default_broker' => 'a', 'brokers' => ['a' => $this->config(), 'b' => $this->config()]]);
        self::assertSame(Realtime::broker('a'), Realtime::broker());
        self::assertSame(Realtime::broker('b'), Realtime::broker('b'));
        self::assertNotSame(Realtime::broker('a'), Realtime::broker('b'));
        $seen = [];
        Realtime::broker()->subscribe('user.1', function (Message $message) use (&$seen): void {
            $seen[] = $message->getEvent();
        });
        Realtime::broker('a')->publish('user.1', Message::event(null, 'paid'));
        Realtime::broker('a')->consume(1000, 100, 1);
        self::assertSame(['paid'], $seen);
    }

    public function testEachLayerOverridesTheLowerOnes(): void
    {
        $code = self::PRINT_TOPIC . <<<'PHP'
            $topics['environment'] = topicOf(new Broker(['max_hops' => 8]));
            ini_set('toporia_realtime.topic_prefix', 'ini');
            $topics['ini'] = topicOf(new Broker(['max_hops' => 8]));
            Realtime::configure(['topic_prefix' => 'top']);
            $topics['top level'] = topicOf(new Broker(['max_hops' => 8]));
            Realtime::configure(['topic_prefix' => 'top', 'brokers' => ['kafka' => ['topic_prefix' => 'broker']]]);
            $topics['configure'] = topicOf(new Broker(['max_hops' => 8]));
            $topics['constructor'] = topicOf(new Broker(['topic_prefix' => 'constructor']));
            $topics['broadcast'] = topicOf(null);
            $topics['other settings stay'] = topicOf(new Broker(['topic_prefix' => '', 'consumer_group' => 'g']));
            echo json_encode($topics);
            PHP;
        self::assertSame([
            'environment' => 'env_c',
            'ini' => 'ini_c',
            'top level' => 'top_c',
            'configure' => 'broker_c',
            'constructor' => 'constructor_c',
            'broadcast' => 'broker_c',
            'other settings stay' => 'broker_c',
        ], $this->topics($code, ['KAFKA_TOPIC_PREFIX' => 'env']));
    }

    public function testTheEnvironmentIsPhpsView(): void
    {
        $code = self::PRINT_TOPIC . <<<'PHP'
            $topics['default'] = topicOf(new Broker(['max_hops' => 8]));
            putenv('KAFKA_TOPIC_PREFIX=putenv');
            $topics['putenv'] = topicOf(new Broker(['max_hops' => 8]));
            $_SERVER['KAFKA_TOPIC_PREFIX'] = 'server';
            $topics['$_SERVER'] = topicOf(new Broker(['max_hops' => 8]));
            $_ENV['KAFKA_TOPIC_PREFIX'] = 'env';
            $topics['$_ENV'] = topicOf(new Broker(['max_hops' => 8]));
            $_ENV['KAFKA_TOPIC_PREFIX'] = '';
            $topics['empty counts as unset'] = topicOf(new Broker(['consumer_group' => 'x']));
            echo json_encode($topics);
            PHP;
        self::assertSame([
            'default' => 'realtime_c',
            'putenv' => 'putenv_c',
            '$_SERVER' => 'server_c',
            '$_ENV' => 'env_c',
            'empty counts as unset' => 'server_c',
        ], $this->topics($code, ['KAFKA_TOPIC_PREFIX' => null]));
    }

    public function testACommentInTheEnvironmentIsIgnoredWithOneWarning(): void
    {
        $code = self::PRINT_TOPIC . <<<'PHP'
            $topics['environment'] = topicOf(new Broker(['max_hops' => 8]));
            $topics['env() in the array'] = topicOf(new Broker(['topic_prefix' => getenv('KAFKA_TOPIC_PREFIX')]));
            echo json_encode($topics);
            PHP;
        $result = $this->runPhp($code, ['ini' => self::ini(), 'env' => [
            'KAFKA_CONSUMER_GROUP' => '# the default',
            'KAFKA_BROKERS' => $this->deadAddress() . ' # no listener',
            'KAFKA_TOPIC_PREFIX' => 'env # the prefix',
        ]]);
        self::assertSame(['environment' => 'env_c', 'env() in the array' => 'env_c'], $result->json());
        foreach (['KAFKA_BROKERS', 'KAFKA_TOPIC_PREFIX', 'KAFKA_CONSUMER_GROUP'] as $name) {
            $warning = "The environment variable $name ends with a comment";
            self::assertSame(1, substr_count($result->stderr, $warning), $result->stderr);
        }
    }

    public function testTheAddressOfTheEnvironmentOfTheIniAndOfTheArray(): void
    {
        [$env, $ini, $array] = [$this->deadAddress(), $this->deadAddress(), $this->deadAddress()];
        $code = "[\$ini, \$array] = ['$ini', '$array'];" . <<<'PHP'
            function address(Broker $broker): string
            {
                $before = count(Realtime::stats()) ? Realtime::stats()['clients'] : 0;
                $broker->publish('c', Message::event('c', 'e'));
                try {
                    $broker->publishBatch([], 0);
                    Realtime::flush(1);
                } catch (Toporia\Realtime\Exception\DeliveryException $e) {
                    return $e->getMessage();
                }
                return '';
            }
            $all['env'] = address(new Broker());
            echo $all['env'];
            PHP;
        $options = ['env' => ['KAFKA_BROKERS' => $env], 'ini' => self::ini()];
        self::assertStringContainsString($env, $this->runPhp($code, $options)->assertExit()->stdout);
        $options['ini'] = ['toporia_realtime.brokers' => $ini] + self::ini();
        self::assertStringContainsString($ini, $this->runPhp($code, $options)->assertExit()->stdout);
        $configured = "Realtime::configure(['brokers' => ['kafka' => ['brokers' => ['$array']]]]);" . $code;
        self::assertStringContainsString($array, $this->runPhp($configured, $options)->assertExit()->stdout);
    }

    public function testTheDefaultBrokerAndOthersByName(): void
    {
        $code = self::PRINT_TOPIC . <<<'PHP'
            Realtime::configure([
                'default_broker' => 'second',
                'brokers' => [
                    'first' => ['topic_prefix' => 'first'],
                    'second' => ['driver' => 'kafka', 'topic_prefix' => 'second'],
                    'cache' => ['driver' => 'redis', 'host' => 'localhost', 'anything' => true],
                ],
            ]);
            $topics['broadcast'] = topicOf(null);
            $topics['default'] = topicOf(Realtime::broker());
            $topics['first'] = topicOf(Realtime::broker('first'));
            $topics['constructor'] = topicOf(new Broker(['broker' => 'first']));
            $topics['same object'] = Realtime::broker('first') === Realtime::broker('first');
            foreach (['fisrt', 'cache'] as $name) {
                try {
                    Realtime::broker($name);
                } catch (Toporia\Realtime\Exception\ConfigurationException $e) {
                    $topics[$name] = $e->getMessage();
                }
            }
            Realtime::configure(['brokers' => ['only' => ['topic_prefix' => 'only']]]);
            $topics['the only one'] = topicOf(null);
            $_ENV['REALTIME_BROKER'] = 'b';
            Realtime::configure(['brokers' => ['a' => ['topic_prefix' => 'a'], 'b' => ['topic_prefix' => 'b']]]);
            $topics['REALTIME_BROKER'] = topicOf(null);
            echo json_encode($topics);
            PHP;
        $topics = $this->topics($code, ['KAFKA_TOPIC_PREFIX' => null]);
        self::assertStringContainsString("'first'", $topics['fisrt']);
        self::assertStringContainsString('not a Kafka broker', $topics['cache']);
        unset($topics['fisrt'], $topics['cache']);
        self::assertSame([
            'broadcast' => 'second_c',
            'default' => 'second_c',
            'first' => 'first_c',
            'constructor' => 'first_c',
            'same object' => true,
            'the only one' => 'only_c',
            'REALTIME_BROKER' => 'b_c',
        ], $topics);
    }

    public function testConfigureEndsWithTheRequest(): void
    {
        $directory = $this->directory();
        file_put_contents("$directory/index.php", '<?php use Toporia\Realtime\{Realtime, Broker, Message};'
            . self::PRINT_TOPIC . 'if (isset($_GET["prefix"])) {'
            . ' Realtime::configure(["topic_prefix" => $_GET["prefix"]]);'
            . ' Realtime::broker()->subscribe("x", fn () => 1); } echo topicOf(null);');
        $server = $this->startServer($directory, $address);
        $bodies = [];
        foreach (['?prefix=one', '', '?prefix=two', '', '?prefix=three'] as $query) {
            $bodies[] = file_get_contents("http://$address/index.php$query");
        }
        $server->signal(2);
        self::assertSame(['one_c', 'env_c', 'two_c', 'env_c', 'three_c'], $bodies);
    }

    /** PHP's built-in web server: many requests in one process. */
    private function startServer(string $directory, ?string &$address): ChildProcess
    {
        $address = $this->deadAddress();
        $free = stream_socket_server('tcp://127.0.0.1:0');
        self::assertIsResource($free);
        $address = (string) stream_socket_get_name($free, false);
        fclose($free);
        $command = [PHP_BINARY, '-d', 'extension=' . self::extension()];
        foreach (self::ini() as $name => $value) {
            array_push($command, '-d', "$name=$value");
        }
        $env = ['KAFKA_BROKERS' => $this->deadAddress(), 'KAFKA_TOPIC_PREFIX' => 'env'] + getenv();
        $server = $this->start([...$command, '-S', $address, '-t', $directory], $env);
        self::eventually(static function () use ($address): bool {
            $socket = @stream_socket_client("tcp://$address", $code, $error, 1.0);

            return is_resource($socket) && fclose($socket);
        }, "php -S answers at $address");

        return $server;
    }

    /** @return array<string, string> */
    private static function ini(): array
    {
        return ['toporia_realtime.shutdown_flush_ms' => '0', 'toporia_realtime.request_flush_ms' => '0'];
    }

    /**
     * @param array<string, string|null> $env
     *
     * @return array<string, mixed>
     */
    private function topics(string $code, array $env): array
    {
        $env += ['KAFKA_BROKERS' => $this->deadAddress(), 'KAFKA_CONSUMER_GROUP' => null];

        return (array) $this->runPhp($code, ['env' => $env, 'ini' => self::ini()])->json();
    }
}
