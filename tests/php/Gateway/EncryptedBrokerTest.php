<?php

/**
 * Encrypted channels: encrypted by the sender, opaque to Kafka and the gateway, readable only in the browser.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class EncryptedBrokerTest extends GatewayTestCase
{
    private const CHANNEL = 'private-encrypted-order.7';

    private function encrypting(): Broker
    {
        return $this->broker(['encryption_master_key' => self::MASTER_KEY]);
    }

    private function configureKey(): void
    {
        Realtime::configure([
            'brokers' => ['kafka' => $this->config()],
            'encryption_master_key' => self::MASTER_KEY,
        ]);
    }

    /**
     * Like pusher-js, with libsodium instead of tweetnacl.
     */
    private static function decrypt(mixed $data, string $channel = self::CHANNEL): mixed
    {
        self::assertIsArray($data);
        self::assertSame(['nonce', 'ciphertext'], array_keys($data));
        $key = hash('sha256', $channel . base64_decode(self::MASTER_KEY), true);
        $plain = sodium_crypto_secretbox_open(
            (string) base64_decode($data['ciphertext'], true),
            (string) base64_decode($data['nonce'], true),
            $key
        );
        self::assertIsString($plain, 'it is sealed with another key');

        return json_decode($plain, true, 512, JSON_THROW_ON_ERROR);
    }

    public function testOnlyTheBrowserCanDecrypt(): void
    {
        $this->configureKey();
        $settings = ['encryption_master_key' => self::MASTER_KEY];
        $client = $this->client($this->gateway($settings), $settings);
        $client->subscribe(self::CHANNEL);
        $data = ['card' => '4111 1111', 'total' => 149.95];
        $this->broadcast(self::CHANNEL, 'paid', $data);
        self::assertSame($data, self::decrypt($client->event('paid', self::CHANNEL, 20.0)['data']));
        [$record] = $this->consumeAll($this->channelTopic(self::CHANNEL), 1);
        self::assertStringNotContainsString('4111', (string) $record->getPayload());
        $envelope = Message::fromJson((string) $record->getPayload());
        self::assertSame([self::CHANNEL, 'paid'], [$envelope->getChannel(), $envelope->getEvent()]);
        self::assertSame($data, self::decrypt($envelope->getData()));
    }

    public function testEverySendMethodEncrypts(): void
    {
        $this->configureKey();
        $broker = $this->encrypting();
        $other = 'private-encrypted-order.8';
        $this->createTopic($this->channelTopic(self::CHANNEL));
        $this->createTopic($this->channelTopic($other));
        Realtime::broadcast([self::CHANNEL, $other, 'order.7'], 'list', 1);
        $message = Message::event(null, 'publish', ['n' => 2]);
        self::assertSame($message->getId(), $broker->publish(self::CHANNEL, $message));
        $broker->publishBatch([[self::CHANNEL, 'batch', 'three'], Message::event($other, 'nothing')]);
        Realtime::flush();
        $found = [];
        foreach ([self::CHANNEL => 3, $other => 2] as $channel => $count) {
            foreach ($this->consumeAll($this->channelTopic($channel), $count) as $record) {
                $envelope = Message::fromJson((string) $record->getPayload());
                self::assertSame($channel, $envelope->getChannel());
                $found[$channel][$envelope->getEvent()] = self::decrypt($envelope->getData(), $channel);
            }
        }
        self::assertSame(['list' => 1, 'publish' => ['n' => 2], 'batch' => 'three'], $found[self::CHANNEL]);
        self::assertSame(['list' => 1, 'nothing' => null], $found[$other]);
        [$plain] = $this->consumeAll($this->channelTopic('order.7'), 1);
        self::assertSame(1, Message::fromJson((string) $plain->getPayload())->getData());
    }

    public function testPlainDataWithoutAKeyIsRefusedAndNothingIsSent(): void
    {
        $broker = $this->broker();
        $calls = [
            fn () => Realtime::broadcast(self::CHANNEL, 'paid', ['card' => 1]),
            fn () => Realtime::broadcast(['order.7', self::CHANNEL], 'paid', ['card' => 1]),
            fn () => Realtime::broadcast(self::CHANNEL, 'nothing'),
            fn () => $broker->publish(self::CHANNEL, Message::event(null, 'paid', ['card' => 1])),
        ];
        $before = Realtime::stats()['messages_produced'];
        foreach ($calls as $call) {
            try {
                $call();
                self::fail('It was sent.');
            } catch (ConfigurationException $e) {
                self::assertStringContainsString(self::CHANNEL, $e->getMessage());
                self::assertStringContainsString('REALTIME_ENCRYPTION_MASTER_KEY', $e->getMessage());
            }
        }
        self::assertSame($before, Realtime::stats()['messages_produced']);
    }

    public function testEncryptedDataIsForwardedUnchanged(): void
    {
        $this->createTopic($this->channelTopic(self::CHANNEL));
        $this->encrypting()->publish(self::CHANNEL, Message::event(null, 'first', 'secret'));
        Realtime::flush();
        $topic = $this->channelTopic(self::CHANNEL);
        [$record] = $this->consumeAll($topic, 1);
        $sealed = Message::fromJson((string) $record->getPayload())->getData();
        // A forwarder has no key and needs none.
        Realtime::broadcast(self::CHANNEL, 'forwarded', $sealed);
        $this->broker()->publish(self::CHANNEL, Message::event(null, 'again', $sealed));
        Realtime::flush();
        foreach ($this->consumeAll($topic, 3) as $record) {
            self::assertSame('secret', self::decrypt(Message::fromJson((string) $record->getPayload())->getData()));
        }
    }

    public function testANameThatBrowsersCannotSubscribeToIsRefused(): void
    {
        $this->configureKey();
        $this->expectException(InvalidChannelException::class);
        Realtime::broadcast('private-encrypted-order 7', 'paid', 1);
    }

    public function testAFakeSeesTheDataItself(): void
    {
        $fake = Realtime::fake();
        Realtime::broadcast(self::CHANNEL, 'paid', ['id' => 7]);
        $fake->assertBroadcast(self::CHANNEL, 'paid', static fn (Message $m): bool => $m->getData() === ['id' => 7]);
    }

    public function testLocallyItIsEncryptedTooOrRefused(): void
    {
        $settings = ['encryption_master_key' => self::MASTER_KEY];
        $gateway = $this->gateway($settings);
        $client = $this->client($gateway, $settings);
        $client->subscribe(self::CHANNEL);
        self::assertSame(1, $gateway->broadcastLocally(self::CHANNEL, 'paid', ['id' => 7]));
        self::assertSame(['id' => 7], self::decrypt($client->event('paid')['data']));
        $without = $this->gateway();
        $this->expectException(ConfigurationException::class);
        $without->broadcastLocally(self::CHANNEL, 'paid', ['id' => 7]);
    }

    public function testPlainDataFromOtherProducersDoesNotReachTheSockets(): void
    {
        $this->configureKey();
        $settings = ['encryption_master_key' => self::MASTER_KEY];
        $gateway = $this->gateway($settings);
        $client = $this->client($gateway, $settings);
        $client->subscribe(self::CHANNEL);
        $topic = $this->createTopic($this->channelTopic(self::CHANNEL));
        $this->broker()->send($topic, (string) json_encode([
            'id' => 'x', 'type' => 'event', 'channel' => self::CHANNEL, 'event' => 'plain', 'data' => ['card' => 1],
            'timestamp' => 1,
        ]));
        $this->broadcast(self::CHANNEL, 'sealed', 1);
        self::assertSame(1, self::decrypt($client->event('sealed', null, 20.0)['data']));
        self::assertSame([], $client->rest());
        self::assertSame(1, $gateway->stats()['plain_to_encrypted']);
    }
}
