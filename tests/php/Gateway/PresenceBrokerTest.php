<?php

/**
 * Presence: members, members added and removed, across two gateways.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

final class PresenceBrokerTest extends GatewayTestCase
{
    public function testMembersAreAddedAndRemoved(): void
    {
        $gateway = $this->gateway();
        $first = $this->client($gateway);
        $alone = $first->subscribe('presence-room', ['user_id' => 1, 'user_info' => ['name' => 'An']]);
        self::assertSame(['1'], array_map('strval', $alone['data']['presence']['ids']));
        $second = $this->client($gateway);
        $both = $second->subscribe('presence-room', ['user_id' => 2, 'user_info' => ['name' => 'Bình']]);
        self::assertSame(2, $both['data']['presence']['count']);
        self::assertSame(['name' => 'An'], $both['data']['presence']['hash'][1]);
        $added = $first->event('pusher_internal:member_added', 'presence-room');
        self::assertSame(['user_id' => '2', 'user_info' => ['name' => 'Bình']], $added['data']);
        // A second tab of the same user adds no member, and closing it removes none.
        $tab = $this->client($gateway);
        $tab->subscribe('presence-room', ['user_id' => 2]);
        $tab->socket->hangUp();
        self::assertSame([], $first->rest());
        $second->say('pusher:unsubscribe', ['channel' => 'presence-room']);
        $removed = $first->event('pusher_internal:member_removed', 'presence-room');
        self::assertSame(['user_id' => '2'], $removed['data']);
    }

    public function testTwoGatewaysShareAPresenceChannel(): void
    {
        [$one, $two] = [$this->gateway(), $this->gateway()];
        foreach ([$one, $two] as $gateway) {
            self::eventually(fn () => $gateway->stats()['nodes'] === 1, 'they know each other', 20.0);
        }
        $first = $this->client($one);
        $first->subscribe('presence-room', ['user_id' => 1]);
        self::eventually(
            fn () => $two->stats()['ready'] && count($two->connections(['channel' => 'presence-room'])) === 1,
            'the other gateway knows the member',
            20.0
        );
        $second = $this->client($two);
        $joined = $second->subscribe('presence-room', ['user_id' => 2]);
        self::assertSame(2, $joined['data']['presence']['count']);
        $first->event('pusher_internal:member_added', 'presence-room', 20.0);
        $second->socket->hangUp();
        $gone = $first->event('pusher_internal:member_removed', 'presence-room', 20.0);
        self::assertSame(['user_id' => '2'], $gone['data']);
    }

    public function testClientEventsGoToTheOthersWithTheMembersName(): void
    {
        $gateway = $this->gateway();
        [$from, $to] = [$this->client($gateway), $this->client($gateway)];
        $from->subscribe('presence-room', ['user_id' => 1]);
        $to->subscribe('presence-room', ['user_id' => 2]);
        $from->say('client-typing', ['on' => true], 'presence-room');
        self::assertSame(['on' => true], $to->event('client-typing', 'presence-room')['data']);
        $from->event('pusher_internal:member_added');
        self::assertSame([], $from->rest(), 'not back to the sender');
    }
}
