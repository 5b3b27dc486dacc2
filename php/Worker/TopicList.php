<?php

/**
 * Parses --topic of realtime:kafka:dev: name, or name:partitions.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * ['orders:3', 'users'] → ['orders' => 3, 'users' => 1]
 */
final class TopicList
{
    /**
     * @param array<int, mixed> $given
     *
     * @return array<string, int> partitions by topic
     *
     * @throws UsageError an invalid topic name or number of partitions
     */
    public static function parse(array $given): array
    {
        $topics = [];
        foreach ($given as $entry) {
            $text = is_scalar($entry) ? (string) $entry : '';
            [$topic, $partitions] = explode(':', $text, 2) + [1 => '1'];
            if (preg_match('/\A[A-Za-z0-9._-]{1,249}\z/', $topic) !== 1 || $topic === '.' || $topic === '..') {
                throw new UsageError(
                    '--topic=' . OptionValue::shown($entry) . ' is not a topic name: letters, digits, dots, dashes and '
                    . 'underscores, at most 249. Example: --topic=realtime_user_1:4'
                );
            }
            if (preg_match('/\A[1-9]\d{0,3}\z/', $partitions) !== 1) {
                throw new UsageError(
                    '--topic=' . OptionValue::shown($entry) . ' needs a number of partitions from 1 to 9999 after the '
                    . 'colon. Example: --topic=realtime_user_1:4'
                );
            }
            $topics[$topic] = (int) $partitions;
        }

        return $topics;
    }
}
