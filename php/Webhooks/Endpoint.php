<?php

declare(strict_types=1);

namespace Toporia\Realtime\Webhooks;

use RuntimeException;
use Toporia\Realtime\Support\HttpRequest;
use Toporia\Realtime\Worker\UsageError;

/**
 * Posts webhooks to one URL, signed as Pusher signs them. A response of 2xx means that the receiver has the webhook.
 * Only its status is read.
 */
final class Endpoint
{
    /** As it is shown: without user and password. */
    public readonly string $url;
    private HttpRequest $request;

    /**
     * @param string $key application key, sent as X-Pusher-Key
     * @param string $secret signs the body for X-Pusher-Signature
     * @param float $timeout of an attempt, in seconds
     */
    public function __construct(string $url, string $key, private string $secret, private float $timeout = 5.0)
    {
        $this->url = HttpRequest::shown($url);
        $headers = ['Content-Type' => 'application/json', 'X-Pusher-Key' => $key];
        try {
            $this->request = new HttpRequest('POST', $url, $headers);
        } catch (RuntimeException $e) {
            throw new UsageError("\"$this->url\" is not a URL of webhooks: {$e->getMessage()}.", 0, $e);
        }
    }

    /**
     * Makes one attempt; the caller decides about retries.
     *
     * @return string|null null if the receiver has accepted it; otherwise the reason
     */
    public function post(string $body): ?string
    {
        $signature = ['X-Pusher-Signature' => hash_hmac('sha256', $body, $this->secret)];
        try {
            [$status, $line] = $this->request->send($body, $signature, $this->timeout);
        } catch (RuntimeException $e) {
            return $e->getMessage();
        }

        return $status >= 200 && $status < 300 ? null : $line;
    }
}
