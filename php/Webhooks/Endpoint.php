<?php

/**
 * Posts webhooks to one URL, signed as Pusher signs them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Webhooks;

use Toporia\Realtime\Worker\UsageError;

/**
 * A response of 2xx means that the receiver has the webhook.
 */
final class Endpoint
{
    /**
     * @param string $key application key, sent as X-Pusher-Key
     * @param string $secret signs the body for X-Pusher-Signature
     * @param float $timeout of the connection attempt and of the response, in seconds
     */
    public function __construct(
        public readonly string $url,
        private string $key,
        private string $secret,
        private float $timeout = 5.0
    ) {
        $parts = parse_url($url);
        if (!in_array($parts['scheme'] ?? '', ['http', 'https'], true) || ($parts['host'] ?? '') === '') {
            throw new UsageError("\"$url\" is not a URL of webhooks: it must begin with https:// or http://.");
        }
    }

    /**
     * Makes one attempt; the caller decides about retries.
     *
     * @return string|null null if the receiver has accepted it; otherwise the reason
     */
    public function post(string $body): ?string
    {
        $context = stream_context_create(['http' => [
            'method' => 'POST',
            'protocol_version' => 1.1,
            'header' => implode("\r\n", [
                'Content-Type: application/json',
                "X-Pusher-Key: $this->key",
                'X-Pusher-Signature: ' . hash_hmac('sha256', $body, $this->secret),
                'User-Agent: toporia-realtime',
                'Connection: close',
            ]),
            'content' => $body,
            'timeout' => $this->timeout,
            'ignore_errors' => true,
            'follow_location' => 0,
        ]]);
        error_clear_last();
        $response = @fopen($this->url, 'r', false, $context);
        if ($response === false) {
            $why = (string) (error_get_last()['message'] ?? 'no response');

            return preg_replace('/\Afopen\(.*?\): /', '', $why);
        }
        $status = (string) (stream_get_meta_data($response)['wrapper_data'][0] ?? '');
        fclose($response);

        return preg_match('~\AHTTP/\S+ 2\d\d~', $status) === 1 ? null : ($status === '' ? 'no response' : $status);
    }
}
