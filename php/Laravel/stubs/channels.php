<?php

/**
 * Who may listen to private and presence channels. The names are those without "private-" and "presence-".
 */

use Illuminate\Support\Facades\Broadcast;

Broadcast::channel('App.Models.User.{id}', function ($user, $id) {
    return (int) $user->id === (int) $id;
});
