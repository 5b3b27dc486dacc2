<?php

/**
 * Authorization of the private and presence channels.
 */

declare(strict_types=1);

use App\Models\User;
use Illuminate\Support\Facades\Broadcast;

Broadcast::channel('user.{id}', static fn (User $user, string $id): bool => $user->id === (int) $id);
Broadcast::channel('shop', static fn (User $user): array => ['name' => $user->name]);
