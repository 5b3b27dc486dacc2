<?php

/**
 * examples/laravel as its README starts it: web server, queue worker and payment worker as processes.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

use Toporia\Realtime\Tests\Support\Http;

final class ExampleBrokerTest extends LaravelTestCase
{
    private int $port;
    /** @var array<string, string> */
    private array $cookies = [];

    public function testAnOrderIsPlacedPaidAndAnnounced(): void
    {
        $this->realtime('[]');
        $this->migrate();
        $this->serve();
        $queue = $this->startArtisan('queue:work --sleep=0.1');
        $payment = $this->startArtisan(
            'realtime:kafka:consume --channels=private-user.* --handler=App\Realtime\TakePayment'
        );
        $this->get('/login/1');
        $page = $this->get('/');
        self::assertSame(1, preg_match('/csrfToken: "([^"]+)"/', $page, $match), $page);
        $token = ['X-CSRF-TOKEN' => $match[1]];

        $answer = $this->post('/orders', ['total' => '12.5'], $token + ['X-Socket-ID' => '123.456']);
        self::assertSame(['id' => 1], json_decode($answer, true));
        self::eventually(fn (): bool => count($this->sent(3)) >= 3, 'placed and paid are in Kafka', 30.0);
        $messages = $this->sent(3);
        self::assertEqualsCanonicalizing([
            ['private-user.1', 'order.placed', ['id' => 1, 'total' => 12.5]],
            ['private-user.1', 'order.paid', ['id' => 1]],
            ['sales', 'order.paid', ['id' => 1]],
        ], self::summary($messages));
        self::assertContains(['x-realtime-socket' => '123.456'], array_map(
            static fn ($message): array => $message->getHeaders(),
            $messages
        ), 'broadcast()->toOthers() through the queue.');

        $allowed = $this->post('/broadcasting/auth', ['socket_id' => '1.2', 'channel_name' => 'private-user.1'], $token);
        self::assertSame(
            ['auth' => 'key:' . hash_hmac('sha256', '1.2:private-user.1', self::SECRET)],
            json_decode($allowed, true)
        );
        $refused = $this->post('/broadcasting/auth', ['socket_id' => '1.2', 'channel_name' => 'private-user.2'], $token);
        self::assertArrayNotHasKey('auth', (array) json_decode($refused, true));
        $queue->signal()->wait()->assertExit();
        $payment->signal()->wait()->assertExit();
    }

    /**
     * PHP's built-in web server, as `php artisan serve` starts it.
     */
    private function serve(): void
    {
        $probe = stream_socket_server('tcp://127.0.0.1:0');
        $this->port = (int) substr((string) strrchr((string) stream_socket_get_name($probe, false), ':'), 1);
        fclose($probe);
        // Its router, which Laravel 8 takes from the application: a path without a file in public/ goes to the
        // application.
        $this->startScript('-S', [
            'args' => ["127.0.0.1:$this->port", "$this->app/server.php"],
            'cwd' => $this->app,
            'env' => array_fill_keys(array_keys($this->childEnvironment()), null),
            'ini' => ['error_reporting' => (string) (E_ALL & ~E_DEPRECATED)],
        ]);
        self::eventually(fn (): bool => @fsockopen('127.0.0.1', $this->port) !== false, 'the web server listens');
    }

    private function get(string $path): string
    {
        return $this->send('GET', $path, '', []);
    }

    /**
     * @param array<string, string> $form
     * @param array<string, string> $headers
     */
    private function post(string $path, array $form, array $headers): string
    {
        $headers += ['Content-Type' => 'application/x-www-form-urlencoded', 'Accept' => 'application/json'];

        return $this->send('POST', $path, http_build_query($form), $headers);
    }

    /** @param array<string, string> $headers */
    private function send(string $method, string $path, string $body, array $headers): string
    {
        $headers['Cookie'] = implode('; ', array_map(
            static fn (string $name, string $value): string => "$name=$value",
            array_keys($this->cookies),
            $this->cookies
        ));
        $lines = array_map(
            static fn (string $name, string $value): string => "$name: $value",
            array_keys($headers),
            $headers
        );
        [$lines, $answer] = Http::request("http://127.0.0.1:$this->port$path", [
            'method' => $method,
            'header' => $lines,
            'content' => $body,
            'follow_location' => 0,
        ]);
        foreach ($lines as $line) {
            if (preg_match('/^Set-Cookie: ([^=]+)=([^;]*)/i', $line, $cookie) === 1) {
                $this->cookies[$cookie[1]] = $cookie[2];
            }
        }

        return $answer;
    }
}
