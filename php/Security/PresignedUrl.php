<?php

declare(strict_types=1);

namespace Toporia\Realtime\Security;

use SensitiveParameter;

/**
 * A URL with an AWS Signature Version 4 in its query.
 *
 * @internal
 */
final class PresignedUrl
{
    /**
     * @param array<string, string> $query
     * @param array<string, string> $headers signed headers in addition to the host, lower case
     * @param string|null $session the session token of temporary credentials
     */
    public static function of(
        string $host,
        string $service,
        string $region,
        array $query,
        string $key,
        #[SensitiveParameter] string $secret,
        #[SensitiveParameter] ?string $session,
        int $time,
        int $expires,
        array $headers = []
    ): string {
        $at = gmdate('Ymd\THis\Z', $time);
        $day = substr($at, 0, 8);
        $scope = "$day/$region/$service/aws4_request";
        $headers += ['host' => $host];
        ksort($headers);
        $signed = implode(';', array_keys($headers));
        $query += [
            'X-Amz-Algorithm' => 'AWS4-HMAC-SHA256',
            'X-Amz-Credential' => "$key/$scope",
            'X-Amz-Date' => $at,
            'X-Amz-Expires' => (string) $expires,
            'X-Amz-SignedHeaders' => $signed,
        ] + ($session === null ? [] : ['X-Amz-Security-Token' => $session]);
        ksort($query);
        $text = http_build_query($query, '', '&', PHP_QUERY_RFC3986);
        $lines = '';
        foreach ($headers as $name => $value) {
            $lines .= "$name:$value\n";
        }
        $request = "GET\n/\n$text\n$lines\n$signed\n" . hash('sha256', '');
        $toSign = "AWS4-HMAC-SHA256\n$at\n$scope\n" . hash('sha256', $request);
        $derived = "AWS4$secret";
        foreach ([$day, $region, $service, 'aws4_request'] as $part) {
            $derived = hash_hmac('sha256', $part, $derived, true);
        }

        return "https://$host/?$text&X-Amz-Signature=" . hash_hmac('sha256', $toSign, $derived);
    }
}
