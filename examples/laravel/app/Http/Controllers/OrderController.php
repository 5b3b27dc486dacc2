<?php

/**
 * Shows the shop's page and places orders.
 */

declare(strict_types=1);

namespace App\Http\Controllers;

use App\Events\OrderPlaced;
use App\Models\Order;
use App\Models\User;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\RedirectResponse;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\DB;
use Illuminate\View\View;

final class OrderController
{
    public function show(): View
    {
        return view('shop', [
            'user' => Auth::user(),
            'gateway' => config('realtime.gateway'),
        ]);
    }

    /**
     * Logs in without a password: this is an example.
     */
    public function login(int $id): RedirectResponse
    {
        Auth::login(User::query()->findOrFail($id));

        return redirect('/');
    }

    public function place(Request $request): JsonResponse
    {
        $order = DB::transaction(static fn (): Order => Order::query()->create([
            'user_id' => Auth::id() ?? abort(403),
            'total' => (float) $request->input('total', 9.5),
            'status' => 'placed',
        ]));
        broadcast(new OrderPlaced($order))->toOthers();

        return response()->json(['id' => $order->id]);
    }
}
