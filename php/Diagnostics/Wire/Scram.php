<?php

/**
 * SCRAM (RFC 5802): both sides prove that they know the password, without sending it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Wire;

/**
 * A single exchange: first(), final() with the server's first message, then verify() with its last message.
 */
final class Scram
{
    private string $nonce;
    private string $bare;
    private string $serverSignature = '';

    /**
     * @param string $hash sha256 or sha512
     */
    public function __construct(
        private string $hash,
        string $username,
        #[\SensitiveParameter] private string $password
    ) {
        $this->nonce = base64_encode(random_bytes(24));
        $this->bare = 'n=' . strtr($username, ['=' => '=3D', ',' => '=2C']) . ",r=$this->nonce";
    }

    public function first(): string
    {
        return "n,,$this->bare";
    }

    /**
     * @throws WireException not a SCRAM message, or one of another exchange
     */
    public function final(string $serverFirst): string
    {
        ['r' => $nonce, 's' => $salt, 'i' => $rounds] = self::parts($serverFirst) + ['r' => '', 's' => '', 'i' => '0'];
        if (!str_starts_with($nonce, $this->nonce) || (int) $rounds < 1 || (int) $rounds > 1_000_000) {
            throw new WireException(WireException::SASL, 'the SCRAM message of the broker is invalid');
        }
        $salted = hash_pbkdf2($this->hash, $this->password, (string) base64_decode($salt), (int) $rounds, 0, true);
        $clientKey = hash_hmac($this->hash, 'Client Key', $salted, true);
        $withoutProof = 'c=biws,r=' . $nonce;
        $message = "$this->bare,$serverFirst,$withoutProof";
        $proof = $clientKey ^ hash_hmac($this->hash, $message, hash($this->hash, $clientKey, true), true);
        $serverKey = hash_hmac($this->hash, 'Server Key', $salted, true);
        $this->serverSignature = base64_encode(hash_hmac($this->hash, $message, $serverKey, true));

        return "$withoutProof,p=" . base64_encode($proof);
    }

    /**
     * @throws WireException the broker does not know the password: it may be an impostor
     */
    public function verify(string $serverFinal): void
    {
        if (!hash_equals($this->serverSignature, self::parts($serverFinal)['v'] ?? '')) {
            throw new WireException(
                WireException::SASL,
                'the broker could not prove that it knows the password: this may be a man-in-the-middle attack',
                'Find out which server uses this address before sending anything to it.'
            );
        }
    }

    /** @return array<string, string> */
    private static function parts(string $message): array
    {
        $parts = [];
        foreach (explode(',', $message) as $part) {
            $parts[substr($part, 0, 1)] = substr($part, 2);
        }

        return $parts;
    }
}
