<?php

/**
 * TLS and SASL settings of a connection.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Wire;

use Closure;

/**
 * The resolved `security` settings. Never print this: it contains the password.
 */
final class Security
{
    public function __construct(
        public readonly string $protocol = 'plaintext',
        public readonly string $mechanism = 'PLAIN',
        public readonly ?string $username = null,
        #[\SensitiveParameter] public readonly ?string $password = null,
        public readonly ?string $ca = null,
        public readonly ?string $certificate = null,
        public readonly ?string $key = null,
        #[\SensitiveParameter] public readonly ?string $keyPassword = null,
        public readonly bool $verify = true,
        public readonly bool $verifyName = true,
        /** Returns a token for OAUTHBEARER. */
        public readonly ?Closure $token = null
    ) {
    }

    public function usesTls(): bool
    {
        return in_array($this->protocol, ['ssl', 'sasl_ssl'], true);
    }

    public function usesSasl(): bool
    {
        return str_starts_with($this->protocol, 'sasl_');
    }

    /**
     * The stream context options.
     *
     * @param bool $trust false: skip verification, only to read the certificate; nothing may be sent over that
     *        connection
     *
     * @return array<string, mixed>
     */
    public function streamOptions(string $host, bool $trust): array
    {
        $options = [
            'peer_name' => trim($host, '[]'),
            'verify_peer' => $trust && $this->verify,
            'verify_peer_name' => $trust && $this->verify && $this->verifyName,
            'capture_peer_cert' => true,
            'SNI_enabled' => true,
        ];
        if ($this->ca !== null) {
            $options[is_dir($this->ca) ? 'capath' : 'cafile'] = $this->ca;
        }
        $own = ['local_cert' => $this->certificate, 'local_pk' => $this->key, 'passphrase' => $this->keyPassword];

        return $options + array_filter($own, static fn (?string $value): bool => $value !== null);
    }

    /** @return array<string, mixed> */
    public function __debugInfo(): array
    {
        return ['protocol' => $this->protocol, 'mechanism' => $this->mechanism, 'username' => $this->username];
    }
}
