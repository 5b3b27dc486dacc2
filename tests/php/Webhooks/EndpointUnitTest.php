<?php

/**
 * One attempt to post a webhook, to receivers that misbehave.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Webhooks;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use RuntimeException;
use Toporia\Realtime\Support\HttpRequest;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Webhooks\Endpoint;
use Toporia\Realtime\Worker\UsageError;

final class EndpointUnitTest extends TestCase
{
    /** Accepts one connection, reads the request and runs the code in its second argument, which responds. */
    private const RECEIVER = <<<'PHP'
        [, $transport, $code] = $argv;
        $options = [];
        if ($transport !== 'tcp') {
            $key = openssl_pkey_new(['private_key_bits' => 2048]);
            $request = openssl_csr_new(['commonName' => '127.0.0.1'], $key);
            openssl_x509_export(openssl_csr_sign($request, null, $key, 1), $certificate);
            openssl_pkey_export($key, $private);
            $file = tempnam(sys_get_temp_dir(), 'realtime');
            file_put_contents($file, $private . $certificate);
            $options = ['ssl' => ['local_cert' => $file]];
        }
        $context = stream_context_create($options);
        $flags = STREAM_SERVER_BIND | STREAM_SERVER_LISTEN;
        $server = stream_socket_server("tcp://127.0.0.1:0", $number, $why, $flags, $context);
        echo stream_socket_get_name($server, false) . ' ' . ($file ?? '') . "\n";
        $client = stream_socket_accept($server, 20.0);
        if ($transport !== 'tcp') {
            usleep($transport === 'slow-ssl' ? 700_000 : 0);
            @stream_socket_enable_crypto($client, true, STREAM_CRYPTO_METHOD_TLS_SERVER);
            unlink($file);
        }
        $read = function () use ($client): string {
            $head = (string) stream_get_line($client, 65536, "\r\n\r\n");
            preg_match('/content-length: (\d+)/i', $head, $length);
            return "$head\r\n\r\n" . stream_get_contents($client, (int) $length[1]);
        };
        eval($code);
        PHP;

    private ChildProcess $receiver;
    private string $certificate = '';

    protected function tearDown(): void
    {
        $this->receiver->destroy();
    }

    public function testTheRequestIsSignedAndComplete(): void
    {
        $endpoint = $this->endpoint('$said = $read(); fwrite($client, "HTTP/1.1 204 No Content\r\n\r\n"); echo $said;');
        $body = str_repeat('{"ü":1}', 100_000);
        self::assertNull($endpoint->post($body));
        $this->receiver->wait(10.0);
        [$head, $received] = explode("\r\n\r\n", explode("\n", $this->receiver->stdout(), 2)[1], 2);
        self::assertSame($body, $received);
        self::assertStringStartsWith("POST /hooks/%C3%BC%20x?a=b HTTP/1.1\r\nHost: 127.0.0.1:", $head);
        foreach (
            [
                'X-Pusher-Key: key', 'X-Pusher-Signature: ' . hash_hmac('sha256', $body, 'secret'),
                'Content-Type: application/json', 'Authorization: Basic ' . base64_encode('me:p@ss'),
            ] as $line
        ) {
            self::assertStringContainsString("\r\n$line", $head);
        }
    }

    /** @dataProvider receivers */
    #[DataProvider('receivers')]
    public function testEveryReceiverIsAnsweredInTime(string $code, ?string $expected, string $transport = 'tcp'): void
    {
        $endpoint = $this->endpoint($code, $transport);
        $start = microtime(true);
        $why = $endpoint->post('{}');
        self::assertLessThan(3.0, microtime(true) - $start);
        self::assertSame(0, memory_get_usage(true) >> 27, 'less than 128 MB');
        $expected === null
            ? self::assertNull($why)
            : self::assertMatchesRegularExpression("/$expected/", (string) $why);
    }

    /** @return array<string, array{string, ?string, 2?: string}> */
    public static function receivers(): array
    {
        $answer = static fn (string $text): string => '$read(); fwrite($client, ' . var_export($text, true) . ');';
        $forever = 'for (;;) { if (!@fwrite($client, "X: %s\r\n")) { break; } usleep(%d); }';

        return [
            'accepted' => [$answer("HTTP/1.1 200 OK\r\n\r\n"), null],
            'HTTP/1.0, no space' => [$answer("HTTP/1.0 202\n\n"), null],
            'interim responses' => [
                $answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n"), null,
            ],
            'a body without an end' => [
                $answer("HTTP/1.1 200 OK\r\n\r\n") . sprintf($forever, str_repeat('x', 8000), 0), null,
            ],
            'refused' => [$answer("HTTP/1.1 500 Broken\r\n\r\nbody"), 'HTTP\/1.1 500 Broken$'],
            'redirected' => [$answer("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n"), '302 Found'],
            'closed' => ['$read(); fclose($client);', 'closed without a response'],
            'closed before it has read' => ['fclose($client);', 'closed without a response'],
            'silent' => ['sleep(10);', 'no response within 1 s'],
            'a status a byte at a time' => ['for (;;) { @fwrite($client, "H"); usleep(100000); }', 'no response within'],
            'interim responses for ever' => [
                'for (;;) { if (!@fwrite($client, "HTTP/1.1 100 x\r\n\r\n")) { break; } usleep(10000); }', 'no response within',
            ],
            'an interim head without an end' => [
                $answer("HTTP/1.1 100 Continue\r\n") . sprintf($forever, str_repeat('x', 8000), 0), 'no status within',
            ],
            'slow headers of an interim response' => [
                $answer("HTTP/1.1 100 Continue\r\n") . sprintf($forever, 'y', 200_000), 'no response within',
            ],
            'not HTTP' => [$answer("SSH-2.0-OpenSSH\r\n"), 'SSH-2.0'],
            'a certificate of no authority' => [$answer("HTTP/1.1 200 OK\r\n\r\n"), 'certificate verify failed', 'ssl'],
        ];
    }

    public function testAnAddressWithoutAReceiver(): void
    {
        $this->endpoint('');
        foreach (['http://127.0.0.1:1/' => 'Connection refused', 'https://receiver.invalid/' => 'receiver.invalid'] as $url => $why) {
            self::assertStringContainsString($why, (string) (new Endpoint($url, 'key', 'secret', 1.0))->post('{}'));
        }
    }

    public function testTheHandshakeCountsTowardsTheTimeout(): void
    {
        $url = $this->endpoint('$read(); sleep(10);', 'slow-ssl')->url;
        $request = new HttpRequest('POST', $url, [], $this->certificate);
        $start = microtime(true);
        try {
            $request->send('{}', [], 1.0);
            self::fail('it is silent');
        } catch (RuntimeException $e) {
            self::assertSame('no response within 1 s', $e->getMessage());
        }
        self::assertEqualsWithDelta(1.0, microtime(true) - $start, 0.4);
        $this->receiver->destroy();
        // Accepts the connection and does not answer the handshake at all.
        $url = str_replace('http://', 'https://', $this->endpoint('sleep(10);')->url);
        self::assertSame('no response within 1 s', (new Endpoint($url, 'key', 'secret', 1.0))->post('{}'));
    }

    public function testUserAndPasswordAreNotShown(): void
    {
        $url = $this->endpoint('')->url;
        self::assertMatchesRegularExpression('~\Ahttp://127\.0\.0\.1:\d+/hooks/ü x\?a=b\z~', $url);
        foreach (['ftp://me:hush@a/b' => 'ftp://a/b', 'https://me:h/ush@a/b' => 'https://a/b'] as $given => $shown) {
            try {
                new Endpoint($given, 'key', 'secret');
                self::fail("$given is no URL of webhooks");
            } catch (UsageError $e) {
                self::assertStringContainsString("\"$shown\" is not a URL of webhooks", $e->getMessage());
            }
        }
    }

    /** @dataProvider bodies */
    #[DataProvider('bodies')]
    public function testTheBodyOfAResponse(string $response, string $expected, int $max = 100): void
    {
        $url = $this->endpoint('$read(); fwrite($client, ' . var_export($response, true) . '); sleep(10);')->url;
        $request = new HttpRequest('POST', $url);
        self::assertSame([200, 'HTTP/1.1 200 OK', $expected], $request->send('{}', [], 1.0, $max));
    }

    /** @return array<string, array{string, string, 2?: int}> */
    public static function bodies(): array
    {
        $head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";

        return [
            'of a length' => ["{$head}Content-Length: 3\r\n\r\nabcdef", 'abc'],
            'empty' => ["{$head}Content-Length: 0\r\n\r\n", ''],
            'in chunks' => ["{$head}Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 'abcde'],
            'longer than read' => ["{$head}\r\nabcdef", 'abcd', 4],
            'longer than read, in chunks' => ["{$head}transfer-encoding: chunked\r\n\r\n6\r\nabcdef\r\n", 'abcd', 4],
        ];
    }

    private function endpoint(string $code, string $transport = 'tcp'): Endpoint
    {
        $this->receiver = new ChildProcess([PHP_BINARY, '-r', self::RECEIVER, $transport, $code], getenv());
        [, $address, $this->certificate] = $this->receiver->waitForOutput('/^(127\.0\.0\.1:\d+) (.*)\n/m');
        $scheme = $transport === 'tcp' ? 'http' : 'https';

        return new Endpoint("$scheme://me:p%40ss@$address/hooks/ü x?a=b", 'key', 'secret', 1.0);
    }
}
